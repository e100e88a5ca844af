package heartbeat

import "time"

// Watchdog watches work that runs: who has made no progress for its budget?
// Work is begun, beats, and is ended; Check says whose budget is over.
//
// A [Ward] lies in a heap of looks that a beat never touches, nor its end, nor
// its next beginning unless that has a shorter budget: what comes up and is not
// due is put right or dropped then. So a ward whose work begins and ends a
// million times within one budget costs one place in the heap and allocates
// nothing.
//
// It suspects itself first, as the Monitor does: while the process did not look
// (stopped, swapped out, starved) the work had no chance either. A gap between
// two Checks of more than twelve ticks counts as nobody's silence, and the Check
// that ends it accuses nobody; where one late Check follows another, twelve ticks
// count for each. So no budget may be shorter than two such gaps, see Least.
//
// It belongs to one loop, as the Monitor does. Same calls, same answers.
type Watchdog[K any] struct {
	limit time.Duration // fixed: a longer gap between two Checks is a nap
	looks []*Ward[K]    // heap by due
	clock clock
}

// Ward is one who works, one piece of work at a time. Its zero value is ready;
// it must not be copied while it is watched.
type Ward[K any] struct {
	who     K
	budget  time.Duration
	last    time.Duration // the last beat, or the beginning
	due     time.Duration // when to look: never later than last + budget, while it works
	place   int32         // in Watchdog.looks, from 1; 0: not there
	working bool
}

// lateTicks is how many ticks may lie between two Checks that are in time.
const lateTicks = 12

// NewWatchdog is a watchdog whose Check will be called about every tick; 0
// means 20 ms.
func NewWatchdog[K any](tick time.Duration) *Watchdog[K] {
	if tick <= 0 {
		tick = 20 * time.Millisecond
	}
	return &Watchdog[K]{limit: lateTicks * tick}
}

// Least is the shortest budget: twice what counts as a gap, 480 ms at ticks of
// 20 ms. Shorter ones are taken as that.
func (d *Watchdog[K]) Least() time.Duration { return 2 * d.limit }

// Budget is that of its latest work.
func (w *Ward[K]) Budget() time.Duration { return w.budget }

// Begin notes that who begins a piece of work under w, with that budget.
func (d *Watchdog[K]) Begin(now time.Time, w *Ward[K], who K, budget time.Duration) {
	w.who, w.budget, w.working = who, max(budget, d.Least()), true
	d.beat(now, w)
}

// Beat notes progress: the budget runs anew. Nothing happens for one that does
// not work.
func (d *Watchdog[K]) Beat(now time.Time, w *Ward[K]) {
	if w.working {
		d.beat(now, w)
	}
}

func (d *Watchdog[K]) beat(now time.Time, w *Ward[K]) {
	w.last = d.clock.tell(now, d.limit)
	switch due := w.last + w.budget; {
	case w.place == 0:
		w.due = due
		d.looks = append(d.looks, w)
		w.place = int32(len(d.looks))
		d.up(int(w.place) - 1)
	case due < w.due:
		w.due = due
		d.up(int(w.place) - 1)
	}
}

// End notes that the work is done. The ward is looked at once more, and
// dropped.
func (d *Watchdog[K]) End(w *Ward[K]) { w.working = false }

// Forget ends the work and drops the ward at once.
func (d *Watchdog[K]) Forget(w *Ward[K]) {
	w.working = false
	if w.place > 0 {
		d.drop(w)
	}
}

// Check returns those whose budget is over, in the order in which it was. Each
// is told once; a later Beat has it watched again. A Check that finds that it
// comes late itself accuses nobody.
func (d *Watchdog[K]) Check(now time.Time) []K {
	at := d.clock.tell(now, d.limit)
	if !d.clock.checked() {
		return nil
	}
	var over []K
	for len(d.looks) > 0 && d.looks[0].due <= at {
		w := d.looks[0]
		if due := w.last + w.budget; w.working && due > at {
			w.due = due
			d.down(0)
			continue
		}
		d.drop(w)
		if w.working {
			over = append(over, w.who)
		}
	}
	return over
}

// Silent is for how long w has worked without a beat up to the latest time that
// the watchdog was told, less what it slept through.
func (d *Watchdog[K]) Silent(w *Ward[K]) time.Duration {
	if !w.working {
		return 0
	}
	return max(0, d.clock.now()-w.last)
}

// Len is how many places the heap has: those who work, and those whose last
// look is still to come.
func (d *Watchdog[K]) Len() int { return len(d.looks) }

func (d *Watchdog[K]) drop(w *Ward[K]) {
	i, last := int(w.place)-1, len(d.looks)-1
	d.swap(i, last)
	d.looks[last] = nil
	d.looks = d.looks[:last]
	w.place = 0
	if i < last {
		d.down(i)
		d.up(i)
	}
}

func (d *Watchdog[K]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if d.looks[parent].due <= d.looks[i].due {
			return
		}
		d.swap(i, parent)
		i = parent
	}
}

func (d *Watchdog[K]) down(i int) {
	for {
		first := 2*i + 1
		if first >= len(d.looks) {
			return
		}
		if right := first + 1; right < len(d.looks) && d.looks[right].due < d.looks[first].due {
			first = right
		}
		if d.looks[i].due <= d.looks[first].due {
			return
		}
		d.swap(i, first)
		i = first
	}
}

func (d *Watchdog[K]) swap(i, j int) {
	d.looks[i], d.looks[j] = d.looks[j], d.looks[i]
	d.looks[i].place, d.looks[j].place = int32(i+1), int32(j+1)
}
