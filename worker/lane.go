package worker

import (
	"runtime"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// lane is one OS thread that runs whatever the sessions of its lane have to
// run, in the order in which the core hands it over: at most one thing at a
// time. The thread is the lane's as long as the node lives; a session costs none
// of its own, and no goroutine.
type lane struct {
	node   *node
	orders chan turn // holds the one that the core may have handed over

	// owned by the goroutine
	thread int
	worn   *badge
}

// turn is what a session is to run on its lane: Open, a call, or Close.
type turn struct {
	task *task
	open bool
	stop *session.Error // Close, for that; nil: not Close
}

// newLanes makes the lanes of the pools that have them. They run from the first
// session on until the node has ended its last.
func newLanes(n *node, pools []core.Pool) map[string][]*lane {
	all := map[string][]*lane{}
	for _, p := range pools {
		for range p.Lanes {
			all[p.Name] = append(all[p.Name], &lane{node: n, orders: make(chan turn, 1)})
		}
	}
	return all
}

// laneOf is the lane of a session that the core has given a turn: it does not
// change any more.
func (n *node) laneOf(s *core.Session) *lane { return n.lanes[s.Pool()][s.Lane()] }

func (n *node) startLanes() {
	for _, lanes := range n.lanes {
		for _, l := range lanes {
			n.laned.Go(l.run)
		}
	}
}

// endLanes ends the threads. No session is left that could get a turn.
func (n *node) endLanes() {
	for _, lanes := range n.lanes {
		for _, l := range lanes {
			close(l.orders)
		}
	}
	n.laned.Wait()
}

// run is the lane's whole life. It never unlocks its thread, so that the thread
// ends with it.
func (l *lane) run() {
	runtime.LockOSThread()
	l.thread = ThreadID()
	l.serve()
}

// serve takes turns until the lane ends. A pool's code that ends its goroutine
// (runtime.Goexit) must not take the thread along: the lane goes on while that
// unwinds.
func (l *lane) serve() {
	ended := false
	defer func() {
		if p := recover(); p != nil {
			panic(p) // none of a pool's
		}
		if !ended {
			l.serve()
		}
	}()
	for o := range l.orders {
		l.take(o)
	}
	ended = true
}

func (l *lane) take(o turn) {
	t := o.task
	if t.thread.Load() != int64(l.thread) {
		t.thread.Store(int64(l.thread))
	}
	if l.worn != t.badge {
		t.badge.wear()
		l.worn = t.badge
	}
	switch {
	case o.open:
		t.open()
	case o.stop != nil:
		t.close(o.stop)
	default:
		t.turn()
	}
}
