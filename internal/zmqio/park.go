package zmqio

import (
	"runtime"
	"time"
)

const (
	// busy is how many envelopes a batch has of a loop that does not go to sleep at
	// once: to be woken costs more than to look.
	busy = 4
	// glances is how often it looks again, some 25 us in all, and fewGlances where it
	// must not give way meanwhile.
	glances    = 30
	fewGlances = 10
)

// park puts the loop to sleep until there is something to see, somebody wakes it,
// or the time has come. It looks before it announces the nap: what is there already
// costs no sender his company. It announces the nap first and looks for work
// afterwards: whoever adds work does the reverse, so one of the two always sees the
// other. Input needs no second look, for the poller tells again of what has not been
// read.
func (l *Loop) park(until time.Time) (err error) {
	if found, err := l.lookout(); found || err != nil {
		return err
	}
	l.awake.Store(false)
	defer l.awake.Store(true)
	if l.hasWork() {
		return nil
	}
	l.count.parks.Add(1)
	l.brought = 0
	l.signs, err = l.poller.wait(l.signs, until)
	return err
}

// lookout looks whether there is something, without sleeping: once, or more often if
// the loop has been busy. Meanwhile other goroutines and processes have their turn.
func (l *Loop) lookout() (found bool, err error) {
	again := 0
	switch polite := l.manners.polite(l.Time()); {
	case l.brought < busy:
	case polite:
		again = glances
	default:
		again = fewGlances
	}
	for {
		if l.signs, err = l.poller.look(l.signs[:0]); err != nil || len(l.signs) > 0 {
			return true, err
		}
		if again == 0 {
			return false, nil
		}
		again--
		if !l.options.Alone {
			runtime.Gosched()
		}
		if l.hasWork() {
			return true, nil
		}
		l.manners.giveWay(l.Time())
	}
}

func (l *Loop) hasWork() bool {
	for _, s := range *l.sockets.Load() {
		if s.dirty.Load() != nil {
			return true
		}
	}
	return l.inbox.waiting.Load() || l.stopping.Load() || l.gathers != nil && l.gathers.Left()
}

// wakeIfParked ends the loop's sleep. What it should find is in place before.
func (l *Loop) wakeIfParked() {
	if !l.awake.Load() {
		l.waker.wake()
	}
}
