package childproc

import (
	"os/exec"
	"runtime"
	"slices"
	"sync"
)

// launcher is the one thread that all children have for their parent: it
// begins with the first of them and ends after the last, and so does the guard
// of their groups.
type launcher struct {
	mu       sync.Mutex
	children int
	starts   chan start
	groups   []int
	guard    *guard // nil where there is none
}

// start asks for one child to be started.
type start struct {
	cmd  *exec.Cmd
	done chan error // holds one
}

var theLauncher launcher

// start starts a child; end must be called once it has ended.
func (l *launcher) start(cmd *exec.Cmd) error {
	l.mu.Lock()
	if l.children++; l.children == 1 {
		l.starts = make(chan start)
		go launch(l.starts)
		l.guard, _ = newGuard() // no shell, no guard: the package's promise says so
	}
	starts := l.starts
	l.mu.Unlock()
	s := start{cmd, make(chan error, 1)}
	starts <- s
	if err := <-s.done; err != nil {
		l.end(0)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups = append(l.groups, cmd.Process.Pid)
	l.tell("+", cmd.Process.Pid)
	return nil
}

// end takes note that a group is gone, zero for a child that never was. It is
// called before the group's number can become another's.
func (l *launcher) end(group int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.groups, group); i >= 0 {
		l.groups = slices.Delete(l.groups, i, i+1)
		l.tell("-", group)
	}
	if l.children--; l.children == 0 {
		close(l.starts)
		if l.guard != nil {
			l.guard.end()
			l.guard = nil
		}
	}
}

// tell keeps the guard up to date. One that is missing or of no use is
// replaced, and told of all.
func (l *launcher) tell(what string, group int) {
	if l.guard != nil && l.guard.tell(what, group) == nil {
		return
	}
	if l.guard != nil {
		l.guard.end()
	}
	l.guard = nil
	if what == "-" {
		return // the next start will need one, or nobody does
	}
	g, err := newGuard()
	if err != nil {
		return
	}
	for _, group := range l.groups {
		if g.tell("+", group) != nil {
			g.end()
			return
		}
	}
	l.guard = g
}

// launch is the thread. It never unlocks, so that the thread ends with it.
func launch(starts <-chan start) {
	runtime.LockOSThread()
	for s := range starts {
		s.done <- s.cmd.Start()
	}
}
