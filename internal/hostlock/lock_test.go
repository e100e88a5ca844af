//go:build linux

package hostlock

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func lock(t testing.TB, c *Cell) *Lock {
	t.Helper()
	l, err := c.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Release(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func claimEpoch(t testing.TB, l *Lock, epoch uint64) Holder {
	t.Helper()
	h := self(t, l.cell, 7)
	h.Epoch = epoch
	if err := l.Claim(h); err != nil {
		t.Fatal(err)
	}
	return h
}

// sees checks what anybody sees.
func sees(t testing.TB, c *Cell, want Holder, wantHeld bool) {
	t.Helper()
	h, held, err := c.Holder()
	if err != nil || held != wantHeld || h != want {
		t.Errorf("holder %+v, held %v, %v\nwant   %+v, held %v", h, held, err, want, wantHeld)
	}
}

func TestLock(t *testing.T) {
	c := cell(t)
	other := open(t, c.Dir())
	sees(t, other, Holder{Cell: c.ID()}, false)

	l := lock(t, c)
	if _, err := other.TryLock(); !errors.Is(err, ErrHeld) {
		t.Errorf("%v, want ErrHeld", err)
	}
	sees(t, other, Holder{Cell: c.ID()}, false) // nobody holds before the claim
	first := claimEpoch(t, l, 3)
	sees(t, other, first, true)
	second := claimEpoch(t, l, 4)
	sees(t, other, second, true)
	if err := l.Check(); err != nil {
		t.Error(err)
	}

	for range 2 {
		if err := l.Release(); err != nil {
			t.Error(err)
		}
	}
	sees(t, other, second, false)
	if err := l.Claim(first); !errors.Is(err, os.ErrClosed) {
		t.Errorf("claim after release: %v", err)
	}

	l = lock(t, other)
	sees(t, c, second, false) // the predecessor is not shown as a holder
	if h, err := l.Recorded(); err != nil || h != second {
		t.Errorf("recorded %v, %v", h, err)
	}
	for _, epoch := range []uint64{0, 3, 4} {
		h := self(t, other, 8)
		h.Epoch = epoch
		if err := l.Claim(h); !errors.Is(err, ErrEpoch) {
			t.Errorf("epoch %d: %v, want ErrEpoch", epoch, err)
		}
	}
	sees(t, c, claimEpoch(t, l, 9), true)
}

func TestClaimRefuses(t *testing.T) {
	c := cell(t)
	l := lock(t, c)
	foreign := self(t, c, 1)
	foreign.PID, foreign.Epoch = 1, 1
	long := self(t, c, 1)
	long.Endpoint, long.Epoch = string(make([]byte, MaxEndpoint+1)), 1
	for _, h := range []Holder{foreign, long} {
		if err := l.Claim(h); err == nil {
			t.Errorf("%v: claimed", h)
		}
		if _, err := c.Register(h); err == nil {
			t.Errorf("%v: registered", h)
		}
	}
	sees(t, c, Holder{Cell: c.ID()}, false)
}

func TestGarbageLockFile(t *testing.T) {
	sound := func(c *Cell, epoch uint64) []byte {
		return Holder{PID: 1, Epoch: epoch, Cell: c.ID()}.encode(0)
	}
	stranger := Holder{PID: 1, Epoch: 5}.encode(0) // of another cell
	pair := func(a, b []byte) []byte {
		content := make([]byte, lockSize)
		copy(content, a)
		copy(content[stride:], b)
		return content
	}
	noise := bytes.Repeat([]byte("garbage "), 1<<12)
	for _, tt := range []struct {
		name    string
		content func(c *Cell) []byte
		epoch   uint64 // that can still be read
		err     error
	}{
		{"empty", func(*Cell) []byte { return nil }, 0, ErrGarbage},
		{"one byte", func(*Cell) []byte { return []byte{'L'} }, 0, ErrGarbage},
		{"noise, too long", func(*Cell) []byte { return noise }, 0, ErrGarbage},
		{"zeros", func(*Cell) []byte { return make([]byte, lockSize) }, 0, ErrGarbage},
		{"another cell's", func(*Cell) []byte { return pair(stranger, stranger) }, 0, ErrGarbage},
		{"first copy damaged", func(c *Cell) []byte { return pair(noise[:recordSize], sound(c, 6)) }, 6, nil},
		{"second copy damaged", func(c *Cell) []byte { return pair(sound(c, 6), noise[:recordSize]) }, 6, nil},
		{"second copy missing", func(c *Cell) []byte { return sound(c, 6) }, 6, nil},
		{"first copy half written", func(c *Cell) []byte { return pair(sound(c, 7)[:100], sound(c, 6)) }, 6, nil},
		{"crash between the copies", func(c *Cell) []byte { return pair(sound(c, 7), sound(c, 6)) }, 7, nil},
		{"another version's", func(c *Cell) []byte { return pair(newer(Holder{Epoch: 9, Cell: c.ID()}), sound(c, 6)) }, 0, ErrVersion},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cell(t)
			path := filepath.Join(c.Dir(), lockName)
			if err := os.WriteFile(path, tt.content(c), 0o600); err != nil {
				t.Fatal(err)
			}
			h, held, err := c.Holder()
			if !errors.Is(err, tt.err) || held || h.Epoch != tt.epoch {
				t.Errorf("holder %v, held %v, %v, want epoch %d, %v", h, held, err, tt.epoch, tt.err)
			}
			l := lock(t, c)
			if h, err := l.Recorded(); !errors.Is(err, tt.err) || h.Epoch != tt.epoch {
				t.Errorf("recorded %v, %v, want epoch %d, %v", h, err, tt.epoch, tt.err)
			}
			if _, spare, err := c.recorded(l.file); err == nil && copyEpoch(t, l, spare) == tt.epoch {
				t.Errorf("copy %d, the only good one, would be overwritten first", spare)
			}
			h = self(t, c, 7)
			h.Epoch = tt.epoch
			if err := l.Claim(h); err == nil {
				t.Error("claimed an epoch that was there")
			}
			h.Epoch++
			err = l.Claim(h)
			if errors.Is(tt.err, ErrVersion) {
				if !errors.Is(err, ErrVersion) {
					t.Errorf("%v, want ErrVersion: it must stay as it is", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sees(t, c, h, true)
			bothCopies(t, path, h)
		})
	}
}

// copyEpoch is the epoch of one copy, 0 where it cannot be read.
func copyEpoch(t *testing.T, l *Lock, i int) uint64 {
	t.Helper()
	b := make([]byte, recordSize)
	if _, err := l.file.ReadAt(b, int64(i)*stride); err != nil {
		return 0
	}
	h, _, _ := decode(b)
	return h.Epoch
}

func bothCopies(t *testing.T, path string, want Holder) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil || len(content) != lockSize {
		t.Fatalf("%d bytes, %v, want %d", len(content), err, lockSize)
	}
	for _, b := range [][]byte{content[:recordSize], content[stride:]} {
		if h, _, err := decode(b); err != nil || h != want {
			t.Errorf("copy %v, %v, want %v", h, err, want)
		}
	}
}

// Whatever a crash does to the copy that is being written, the other one is
// whole and was on the disk before.
func TestClaimSparesWhatIsOnTheDisk(t *testing.T) {
	c := cell(t)
	l := lock(t, c)
	synced := -1 // the copy that the last claim has synced
	for epoch := uint64(1); epoch < 8; epoch++ {
		_, spare, err := c.recorded(l.file)
		if err != nil || spare == synced {
			t.Fatalf("epoch %d would overwrite copy %d first, %v", epoch, spare, err)
		}
		claimEpoch(t, l, epoch)
		synced = spare
	}
}

func TestLockIsNoFile(t *testing.T) {
	c := cell(t)
	if err := os.Mkdir(filepath.Join(c.Dir(), lockName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TryLock(); !errors.Is(err, ErrGarbage) {
		t.Errorf("%v, want ErrGarbage", err)
	}
	if _, _, err := c.Holder(); !errors.Is(err, ErrGarbage) {
		t.Errorf("%v, want ErrGarbage", err)
	}
}

// Whoever opened a lock file that is replaced before it is taken has nothing.
func TestReplacedBeforeTaken(t *testing.T) {
	c := cell(t)
	f, err := c.lockFile(os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(filepath.Join(c.Dir(), lockName)); err != nil {
		t.Fatal(err)
	}
	lock(t, c)
	if ours, err := c.take(lockName, f); ours || err != nil {
		t.Errorf("took what is not the lock file any more: %v, %v", ours, err)
	}
}

// A lock file that was replaced under its holder, or a folder: the holder can
// tell.
func TestLostLock(t *testing.T) {
	c := cell(t)
	l := lock(t, c)
	claimEpoch(t, l, 5)
	if err := os.Remove(filepath.Join(c.Dir(), lockName)); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(); !errors.Is(err, ErrLost) {
		t.Errorf("removed: %v, want ErrLost", err)
	}
	other := lock(t, open(t, c.Dir()))
	if err := l.Check(); !errors.Is(err, ErrLost) {
		t.Errorf("replaced: %v, want ErrLost", err)
	}
	if err := os.Rename(c.Dir(), c.Dir()+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := other.Check(); !errors.Is(err, ErrLost) {
		t.Errorf("folder moved: %v, want ErrLost", err)
	}
	open(t, c.Dir())
	if err := other.Check(); !errors.Is(err, ErrLost) {
		t.Errorf("folder replaced: %v, want ErrLost", err)
	}
}

// kill -9 in the middle of claims: what was claimed stays, and nobody holds.
func TestCrashWhileClaiming(t *testing.T) {
	c := cell(t)
	last := uint64(0)
	for range 10 {
		crasher := start(t, "claim", c.Dir(), 1)
		for range 20 {
			epoch, err := strconv.ParseUint(crasher.line(t), 10, 64)
			if err != nil || epoch <= last {
				t.Fatalf("epoch %d after %d, %v", epoch, last, err)
			}
			last = epoch
		}
		crasher.kill(t)
		h, held, err := c.Holder()
		if err != nil || held || h.Epoch < last {
			t.Fatalf("after the crash: %v, held %v, %v, want epoch %d or more", h, held, err, last)
		}
		last = h.Epoch
	}
	sees(t, c, claimEpoch(t, lock(t, c), last+1), true)
}

func TestReadersNeverSeeHalfARecord(t *testing.T) {
	c := cell(t)
	writer := start(t, "write", c.Dir(), 1)
	writer.line(t)
	last := uint64(0)
	for range 20_000 {
		h, held, err := c.Holder()
		if err != nil || !held || h.Epoch+1 < last {
			t.Fatalf("epoch %d after %d, held %v, %v", h.Epoch, last, held, err)
		}
		for _, b := range []byte(h.Endpoint) {
			if b != h.Endpoint[0] {
				t.Fatalf("endpoint %q", h.Endpoint)
			}
		}
		last = max(last, h.Epoch)
	}
	t.Logf("%d records were written meanwhile", last)
}

func TestContention(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cell")
	var contenders []*child
	for i := range uint64(4) {
		contenders = append(contenders, start(t, "contend", dir, i+1))
	}
	seen := map[string]bool{}
	for _, c := range contenders {
		wins := 0
		for c.out.Scan() {
			if seen[c.out.Text()] {
				t.Errorf("epoch %s was claimed twice", c.out.Text())
			}
			seen[c.out.Text()] = true
			wins++
		}
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
		t.Logf("%d epochs", wins)
	}
	if len(seen) != contended {
		t.Errorf("%d epochs were claimed, want %d", len(seen), contended)
	}
}

func BenchmarkClaim(b *testing.B) {
	c := cell(b)
	l := lock(b, c)
	h := self(b, c, 7)
	for b.Loop() {
		h.Epoch++
		if err := l.Claim(h); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHolder(b *testing.B) {
	c := cell(b)
	claimEpoch(b, lock(b, c), 1)
	for b.Loop() {
		if _, held, err := c.Holder(); err != nil || !held {
			b.Fatal(held, err)
		}
	}
}
