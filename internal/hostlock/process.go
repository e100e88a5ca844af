//go:build linux

package hostlock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Why a recorded process is not watched or not killed. Any other error says
// nothing about it, and is no reason to believe it dead.
var (
	ErrGone      = errors.New("the process has ended")
	ErrNotSame   = errors.New("the pid is another process's now")
	ErrElsewhere = errors.New("the process belongs to another pid namespace")
	ErrSelf      = errors.New("that is this very process")
	ErrSurvived  = errors.New("the process has not ended yet")
)

// dying is how long, in milliseconds, a process may be without a program and
// not have ended.
const dying = 100

// Process is a recorded process that is there, by its pidfd, which is never
// another's.
type Process struct {
	// fixed after Watch
	who   Holder
	pidfd *os.File
	raw   syscall.RawConn
	done  chan struct{} // closed by watch
	ended sync.WaitGroup
}

// Watch opens the process of a record. ErrGone: it has ended (a zombie has);
// ErrNotSame: it has, and another got its pid, or it runs another program
// now; ErrElsewhere: its pid means nothing here.
func Watch(h Holder) (*Process, error) {
	p := &Process{who: h, done: make(chan struct{})}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("watch process %d: %w", h.PID, err)
	}
	p.ended.Go(p.watch)
	return p, nil
}

// open opens the pidfd first and compares then, so that what is compared is
// what can be killed.
func (p *Process) open() error {
	if p.who.PID <= 0 {
		return ErrGone
	}
	fd, openErr := unix.PidfdOpen(p.who.PID, 0)
	if openErr == nil {
		_ = unix.SetNonblock(fd, true) // so that the runtime's poller takes it
		p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	}
	err := p.here()
	if err == nil {
		err = p.opened(openErr)
	}
	if err != nil && p.pidfd != nil {
		_ = p.pidfd.Close()
	}
	return err
}

func (p *Process) opened(err error) error {
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return ErrGone // or its pid is the number of a thread by now
	case err != nil:
		return fmt.Errorf("pidfd (Linux 5.3 or newer is needed): %w", err)
	}
	if p.raw, err = p.pidfd.SyscallConn(); err != nil {
		return err
	}
	return p.check()
}

// here says whether the recorded pid means in this process what it meant to
// the one that recorded it.
func (p *Process) here() error {
	own, err := place()
	if err != nil {
		return err
	}
	switch {
	case own.Boot != p.who.Boot:
		return fmt.Errorf("the machine has booted since: %w", ErrGone)
	case own.PIDNS != p.who.PIDNS:
		return fmt.Errorf("%w: candidates of a cell must share one", ErrElsewhere)
	}
	return nil
}

// check compares what /proc says with the record. The pid cannot have been
// given to another while its process had not ended, and whether it had is
// asked last.
func (p *Process) check() error {
	var found Holder
	var lookErr error
	err := control(p.raw, func(fd uintptr) { found, lookErr = look(p.who.PID, int(fd)) })
	if err != nil {
		return err
	}
	patience := 0
	if errors.Is(lookErr, fs.ErrNotExist) || errors.Is(lookErr, unix.ESRCH) {
		patience = dying
	}
	gone, err := p.exited(patience)
	switch {
	case err != nil:
		return err
	case gone:
		return ErrGone
	case lookErr != nil:
		return lookErr
	}
	if what := p.who.differs(found); what != "" {
		return fmt.Errorf("%w: %s", ErrNotSame, what)
	}
	return nil
}

// exited says whether the process has ended, and waits for that a number of
// milliseconds.
func (p *Process) exited(wait int) (gone bool, err error) {
	ctl := control(p.raw, func(fd uintptr) { gone, err = readable(fd, wait) })
	return gone, errors.Join(ctl, err)
}

// control calls do with a descriptor that cannot be closed meanwhile, or says
// that it has been.
func control(raw syscall.RawConn, do func(fd uintptr)) error {
	if raw.Control(do) != nil {
		return os.ErrClosed
	}
	return nil
}

// readable asks poll(2), and waits up to a number of milliseconds.
func readable(fd uintptr, wait int) (bool, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, wait)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}

// watch ends when the process has ended, or with Close.
func (p *Process) watch() {
	gone := false
	_ = p.raw.Read(func(fd uintptr) bool {
		ready, err := readable(fd, 0)
		gone = ready && err == nil
		return gone || err != nil
	})
	if gone {
		close(p.done)
	}
}

// Done is closed when the process has ended, and not by Close. What it had
// locked is free then, unless it was just starting a child, which has the
// locks until it runs its own program: TryLock again after ErrHeld.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill compares once more, sends SIGKILL through the pidfd and waits until the
// process has ended, which a stopped one does too. ErrSurvived: it has not
// within wait; it will, when the kernel lets it. A process that had ended
// before is no error.
func (p *Process) Kill(wait time.Duration) error {
	if err := p.kill(wait); err != nil {
		return fmt.Errorf("kill process %d: %w", p.who.PID, err)
	}
	return nil
}

func (p *Process) kill(wait time.Duration) error {
	if p.who.PID == os.Getpid() {
		return ErrSelf
	}
	err := p.check()
	if err == nil {
		var sent error
		err = control(p.raw, func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
		err = errors.Join(err, sent)
	}
	switch {
	case errors.Is(err, ErrGone), errors.Is(err, unix.ESRCH):
		return nil
	case err != nil:
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w, %v after SIGKILL", ErrSurvived, wait)
	}
}

// Close lets the process go and waits for the watching goroutine.
func (p *Process) Close() error {
	err := p.pidfd.Close()
	p.ended.Wait()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
