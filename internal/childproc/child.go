package childproc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Child is a process that was started here, the leader of its group.
type Child struct {
	// fixed after Start
	cmd   *exec.Cmd
	pid   int
	pidfd *os.File
	ended chan struct{}

	once sync.Once // of Wait
	err  error     // what Wait found

	mu   sync.Mutex
	gone bool // its number may be another's by now
}

// Start starts cmd as the leader of a process group of its own, which gets
// SIGKILL when this process dies. Every child must be waited for with Wait, and
// with nothing else. cmd's streams are best given as files: what copies into a
// writer waits for everybody who holds the other end, unless cmd.WaitDelay is
// set. The errors are those of exec.Cmd.Start, and a system without pidfd.
func Start(cmd *exec.Cmd) (*Child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pgid = true, 0
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := theLauncher.start(cmd); err != nil {
		return nil, err
	}
	c := &Child{cmd: cmd, pid: cmd.Process.Pid, ended: make(chan struct{})}
	fd, err := pidfd(c.pid)
	if err != nil {
		_ = cmd.Process.Kill() // nothing waits for it but the next line
		theLauncher.end(c.pid)
		_, _ = cmd.Process.Wait()
		return nil, fmt.Errorf("watch process %d: %w", c.pid, err)
	}
	c.pidfd = fd
	go c.watch()
	return c, nil
}

// pidfd opens a process that has not been waited for, to be polled.
func pidfd(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// watch waits, in the runtime's poller and on no thread, until the child has
// ended; it leaves it in the process table.
func (c *Child) watch() {
	defer close(c.ended)
	raw, err := c.pidfd.SyscallConn()
	if err == nil {
		err = raw.Read(over)
	}
	if err != nil { // it cannot be polled: wait on a thread
		var info unix.Siginfo
		for errors.Is(unix.Waitid(unix.P_PID, c.pid, &info, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
			continue
		}
	}
}

// over reports that the process behind a pidfd has ended, or that asking for it
// is of no use.
func over(fd uintptr) bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			return err != nil && !errors.Is(err, unix.EAGAIN) || info.Signo != 0
		}
	}
}

// PID is the child's process id, and its group's.
func (c *Child) PID() int { return c.pid }

// Ended is closed when the child itself has ended. It stays a zombie, and
// others of its group may live, until Wait.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Signal sends a signal to the child alone. For one that is gone it does
// nothing.
func (c *Child) Signal(sig syscall.Signal) error { return c.send(c.pid, sig) }

// SignalGroup sends a signal to the child and to all others of its group. Once
// it has been waited for it does nothing.
func (c *Child) SignalGroup(sig syscall.Signal) error { return c.send(-c.pid, sig) }

func (c *Child) send(to int, sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil
	}
	if err := syscall.Kill(to, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", to, err)
	}
	return nil
}

// Wait waits for the child's end, kills what is left of its group, and takes
// it from the process table. Its error is that of exec.Cmd.Wait; State tells
// more. It may be called by several.
func (c *Child) Wait() error {
	<-c.ended
	c.once.Do(func() {
		_ = c.SignalGroup(syscall.SIGKILL) // a member of another user's is not ours to kill
		c.mu.Lock()
		c.gone = true
		c.mu.Unlock()
		theLauncher.end(c.pid)
		c.err = c.cmd.Wait()
		_ = c.pidfd.Close()
	})
	return c.err
}

// State is how the child ended; nil before Wait has returned.
func (c *Child) State() *os.ProcessState { return c.cmd.ProcessState }
