package zmqio

import "time"

// park puts the loop to sleep until there is something to see, somebody wakes it,
// or the time has come. It looks before it announces the nap: what is there already
// costs no sender his company. It announces the nap first and looks for work
// afterwards: whoever adds work does the reverse, so one of the two always sees the
// other. Input needs no second look, for the poller tells again of what has not been
// read.
func (l *Loop) park(until time.Time) (err error) {
	if l.signs, err = l.poller.look(l.signs[:0]); err != nil || len(l.signs) > 0 {
		return err
	}
	l.awake.Store(false)
	defer l.awake.Store(true)
	if l.hasWork() {
		return nil
	}
	l.count.parks.Add(1)
	l.signs, err = l.poller.wait(l.signs, until)
	return err
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
