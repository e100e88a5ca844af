package sim

import "time"

// process is what every part is: it lives, may be stopped and goes on, crashes
// and may be started again, and has a clock of its own.
type process struct {
	w       *World
	name    string
	alive   bool
	stopped bool
	life    int           // how often it was started
	skew    time.Duration // of its clock
	held    int           // chunks whose memory is held, in this life
	inbox   []func()      // what came while it was stopped
	ticking func()        // one tick of its core
}

// tick is how often every core is told the time. It is coarser than in the
// runtimes, which only makes everything later.
const tick = 100 * time.Millisecond

var beginning = time.Unix(1_700_000_000, 0)

// now is the time on the part's own clock.
func (p *process) now() time.Time { return beginning.Add(p.w.now + p.skew) }

// start begins a life.
func (p *process) start(ticking func()) {
	p.life++
	p.alive, p.stopped, p.inbox, p.ticking = true, false, nil, ticking
	p.held = 0
	life := p.life
	due := p.w.chance.between(0, tick)
	var turn func()
	turn = func() {
		if p.life != life || !p.alive {
			return
		}
		if !p.stopped {
			p.ticking()
		}
		p.w.after(tick, turn)
	}
	p.w.after(due, turn)
}

// die ends a life.
func (p *process) die() {
	p.alive, p.stopped, p.inbox = false, false, nil
}

// after has f run in this life of the part once d has passed.
func (p *process) after(d time.Duration, f func()) {
	life := p.life
	p.w.after(d, func() {
		if p.life == life {
			p.run(f)
		}
	})
}

// inboxMost bounds what waits for a stopped part; a socket loses the rest.
const inboxMost = 4096

// run runs f in the part as soon as it is not stopped, and never if it is
// dead.
func (p *process) run(f func()) {
	switch {
	case !p.alive:
	case p.stopped && len(p.inbox) < inboxMost:
		p.inbox = append(p.inbox, f)
	case p.stopped:
	default:
		f()
	}
}

// resume ends a stop. What has come meanwhile is read before or after the next
// tick.
func (p *process) resume() {
	if !p.alive || !p.stopped {
		return
	}
	p.stopped = false
	inbox := p.inbox
	p.inbox = nil
	if p.w.chance.in(0.5) {
		p.ticking()
	}
	for i, f := range inbox {
		if p.stopped || !p.alive {
			p.inbox = append(inbox[i:len(inbox):len(inbox)], p.inbox...)
			return
		}
		f()
	}
}
