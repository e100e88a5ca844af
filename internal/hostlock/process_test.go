//go:build linux

package hostlock

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const aMinute = time.Minute // longer than any wait that ends by an event

func watch(t testing.TB, h Holder) *Process {
	t.Helper()
	p, err := Watch(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestKillFreesTheLock(t *testing.T) {
	c := cell(t)
	holder := start(t, "hold", c.Dir(), 5)
	h := holder.holder(t)
	sees(t, c, h, true)
	p := watch(t, h)
	if err := p.Kill(aMinute); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	l := lock(t, c) // at once, and while the dead one is still a zombie
	sees(t, c, h, false)
	if err := p.Kill(0); err != nil {
		t.Errorf("killing the dead: %v", err)
	}
	if _, err := Watch(h); !errors.Is(err, ErrGone) {
		t.Errorf("a zombie: %v, want ErrGone", err)
	}
	_ = holder.Wait()
	if _, err := Watch(h); !errors.Is(err, ErrGone) {
		t.Errorf("reaped: %v, want ErrGone", err)
	}
	claimEpoch(t, l, h.Epoch+1)
}

// A stopped process keeps the lock and its seat; it can be killed.
func TestStoppedProcess(t *testing.T) {
	c := cell(t)
	holder := start(t, "hold", c.Dir(), 5)
	h := holder.holder(t)
	holder.stop(t)
	sees(t, c, h, true)
	if _, err := c.TryLock(); !errors.Is(err, ErrHeld) {
		t.Errorf("%v, want ErrHeld", err)
	}
	if roster, err := c.Roster(); err != nil || len(roster) != 1 || roster[0].Candidate != 5 {
		t.Errorf("roster %v, %v, want the stopped one", roster, err)
	}
	p := watch(t, h)
	select {
	case <-p.Done():
		t.Error("stopped is not done")
	default:
	}
	if err := p.Kill(aMinute); err != nil {
		t.Fatal(err)
	}
	lock(t, c)
	if roster, err := c.Roster(); err != nil || len(roster) != 0 {
		t.Errorf("roster %v, %v, want nobody", roster, err)
	}
}

func TestDoneByItself(t *testing.T) {
	c := cell(t)
	holder := start(t, "hold", c.Dir(), 5)
	p := watch(t, holder.holder(t))
	if err := holder.in.Close(); err != nil { // it ends on its own; nobody has waited for it yet
		t.Fatal(err)
	}
	<-p.Done()
}

// A process that watches is not ended by Close, and Close does not say done.
func TestCloseEndsTheWatchOnly(t *testing.T) {
	c := cell(t)
	holder := start(t, "idle", c.Dir(), 5)
	h := holder.holder(t)
	p := watch(t, h)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-p.Done():
		t.Error("done after Close")
	default:
	}
	if err := p.Kill(aMinute); !errors.Is(err, os.ErrClosed) {
		t.Errorf("kill after close: %v", err)
	}
	watch(t, h)
}

// Each mark of identity counts by itself.
func TestNotSame(t *testing.T) {
	c := cell(t)
	h := start(t, "idle", c.Dir(), 5).holder(t)
	if h.Unique == 0 {
		t.Log("this kernel does not number its processes (Linux 6.9 does)")
	}
	for _, tt := range []struct {
		name   string
		change func(*Holder)
		want   error
	}{
		{"start time", func(h *Holder) { h.Start++ }, ErrNotSame},
		{"user", func(h *Holder) { h.UID++ }, ErrNotSame},
		{"device of the program", func(h *Holder) { h.Exe.Dev++ }, ErrNotSame},
		{"inode of the program", func(h *Holder) { h.Exe.Inode++ }, ErrNotSame},
		{"pid namespace", func(h *Holder) { h.PIDNS++ }, ErrElsewhere},
		{"boot", func(h *Holder) { h.Boot[0]++ }, ErrGone},
		{"no pid", func(h *Holder) { h.PID = 0 }, ErrGone},
		{"negative pid", func(h *Holder) { h.PID = -1 }, ErrGone},
		{"the kernel's number", func(h *Holder) { h.Unique++ }, ErrNotSame},
		{"a path that others see otherwise", func(h *Holder) { h.Exe.Path = "/elsewhere" }, nil},
		{"a kernel without numbers", func(h *Holder) { h.Unique = 0 }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := h
			tt.change(&changed)
			if h.Unique == 0 && changed.Unique == 1 {
				t.Skip("not run: this kernel does not number its processes")
			}
			p, err := Watch(changed)
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if err == nil {
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestNeverItself(t *testing.T) {
	h := self(t, cell(t), 5)
	if err := watch(t, h).Kill(aMinute); !errors.Is(err, ErrSelf) {
		t.Errorf("%v, want ErrSelf", err)
	}
}

// A pid that has become the number of a thread is no process's.
func TestThreadNumber(t *testing.T) {
	h := self(t, cell(t), 5)
	for _, name := range files(t, "/proc/self/task") {
		if tid, err := strconv.Atoi(name); err == nil && tid != h.PID {
			h.PID = tid
			break
		}
	}
	if _, err := Watch(h); !errors.Is(err, ErrGone) {
		t.Errorf("thread %d: %v, want ErrGone", h.PID, err)
	}
}

// A program that was replaced by exec in the meantime is not killed.
func TestExecInBetween(t *testing.T) {
	c := cell(t)
	h := start(t, "idle", c.Dir(), 5).holder(t)
	p := watch(t, h)
	p.who.Exe.Inode++ // as if it ran another program by now
	if err := p.Kill(aMinute); !errors.Is(err, ErrNotSame) {
		t.Errorf("%v, want ErrNotSame", err)
	}
	watch(t, h)
}

// In a pid namespace of its own, where pids can be dealt out at will.
func TestRecycledPID(t *testing.T) {
	c := cell(t)
	inner := apart(t, "recycle", c.Dir(), 0, syscall.CLONE_NEWPID|syscall.CLONE_NEWNS)
	h := inner.holder(t) // a pid there means nothing here
	if _, err := Watch(h); !errors.Is(err, ErrElsewhere) {
		t.Errorf("a process of another pid namespace: %v, want ErrElsewhere", err)
	}
	if err := inner.in.Close(); err != nil {
		t.Error(err)
	}
	for inner.out.Scan() {
		t.Log(inner.out.Text())
	}
	if err := inner.Wait(); err != nil {
		t.Error(err)
	}
}

// recycle is init in a pid namespace of its own. It has a holder die and
// another process get its pid.
func recycle(dir string, _ uint64) error {
	err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""),
	)
	if err != nil {
		return err
	}
	if err := idle(dir, 1); err != nil { // until the parent has seen who this is
		return err
	}
	victim, old, err := born("hold", dir)
	if err != nil {
		return err
	}
	before, err := Watch(old)
	if err != nil {
		return err
	}
	defer before.Close()
	if err := end(victim); err != nil {
		return err
	}
	<-before.Done()
	heir, young, err := inherit(dir, old)
	if err != nil {
		return err
	}
	fmt.Printf("pid %d: started at tick %d as number %d, then at tick %d as number %d\n", old.PID, old.Start, old.Unique, young.Start, young.Unique)
	if err := spared(before, old, young); err != nil {
		return err
	}
	alive, err := Watch(young)
	if err != nil {
		return fmt.Errorf("the heir has come to harm: %w", err)
	}
	return errors.Join(alive.Kill(aMinute), alive.Close(), end(heir))
}

// spared tries to kill the heir of a pid in all the ways in which a voter that
// knows its former owner would.
func spared(before *Process, old, young Holder) error {
	if err := before.Kill(aMinute); err != nil { // its owner is gone: nothing to do
		return fmt.Errorf("a pidfd from before: %w", err)
	}
	unnumbered := old
	unnumbered.Unique = 0 // as on a kernel before 6.9
	sameTick := old
	sameTick.Start = young.Start
	if young.Unique == 0 {
		sameTick.Start-- // nothing but the tick tells them apart there
	}
	for _, h := range []Holder{old, unnumbered, sameTick} {
		if p, err := Watch(h); !errors.Is(err, ErrNotSame) {
			return fmt.Errorf("the heir was taken for the dead (%v): %v, %w", h, p != nil, err)
		}
	}
	return nil
}

func born(part, dir string) (*child, Holder, error) {
	c, err := spawn(part, dir, 5, nil)
	if err != nil {
		return nil, Holder{}, err
	}
	if !c.out.Scan() {
		return nil, Holder{}, fmt.Errorf("child %d said nothing: %w", c.Process.Pid, c.Wait())
	}
	h, err := parseHolder(c.out.Text())
	return c, h, err
}

func end(c *child) error {
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = c.Wait()
	return nil
}

// inherit starts children until one has the pid, in a later tick. Threads
// (this program's too) may snatch it.
func inherit(dir string, old Holder) (*child, Holder, error) {
	for range 1000 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(old.PID-1)), 0); err != nil {
			return nil, Holder{}, err
		}
		c, young, err := born("idle", dir)
		if err != nil {
			return nil, Holder{}, err
		}
		if young.PID == old.PID && young.Start != old.Start {
			return c, young, nil
		}
		if err := end(c); err != nil {
			return nil, Holder{}, err
		}
	}
	return nil, Holder{}, fmt.Errorf("nobody got pid %d", old.PID)
}

func TestProcFields(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for _, name := range []string{"limpet", "a b", "a) R 1 2 3 (b", ")))", ""} {
		if start, err := startTime("12 (" + name + ")" + tail); err != nil || start != 4711 {
			t.Errorf("program %q: tick %d, %v", name, start, err)
		}
	}
	for _, bad := range []string{"", "12 (x)", "12 (x) S 1 2", "12 (x" + tail[:20]} {
		if start, err := startTime(bad); err == nil {
			t.Errorf("%q: tick %d", bad, start)
		}
	}
	if uid, err := effectiveUID("Name:\tUid: 3 4\nUid:\t1\t2\t3\t4\nGid:\t5\n"); err != nil || uid != 2 {
		t.Errorf("uid %d, %v", uid, err)
	}
	for _, bad := range []string{"", "Name:\tx\n", "\nUid:\n", "\nUid:\tx\ty\n"} {
		if uid, err := effectiveUID(bad); err == nil {
			t.Errorf("%q: uid %d", bad, uid)
		}
	}
}

func BenchmarkWatch(b *testing.B) {
	h := start(b, "idle", b.TempDir(), 5).holder(b)
	for b.Loop() {
		p, err := Watch(h)
		if err != nil {
			b.Fatal(err)
		}
		_ = p.Close()
	}
}

// From SIGKILL to the lock in another's hand.
func BenchmarkKillAndTakeOver(b *testing.B) {
	c := cell(b)
	for b.Loop() {
		b.StopTimer()
		holder := start(b, "hold", c.Dir(), 5)
		h := holder.holder(b)
		p := watch(b, h)
		b.StartTimer()
		if err := p.Kill(aMinute); err != nil {
			b.Fatal(err)
		}
		l := lock(b, c)
		claimEpoch(b, l, h.Epoch+1)
		b.StopTimer()
		_ = holder.Wait()
		if err := l.Release(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
