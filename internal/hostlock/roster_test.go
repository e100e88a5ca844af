//go:build linux

package hostlock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func register(t testing.TB, c *Cell, candidate uint64) *Seat {
	t.Helper()
	s, err := c.Register(self(t, c, candidate))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func roster(t testing.TB, c *Cell) []uint64 {
	t.Helper()
	holders, err := c.Roster()
	if err != nil {
		t.Fatal(err)
	}
	ids := []uint64{}
	for _, h := range holders {
		ids = append(ids, h.Candidate)
	}
	return ids
}

func TestRoster(t *testing.T) {
	c := cell(t)
	other := open(t, c.Dir())
	register(t, c, 0xffff_ffff_ffff_ffff)
	two := register(t, c, 2)
	register(t, other, 3)
	if got := roster(t, c); !slices.Equal(got, []uint64{2, 3, 0xffff_ffff_ffff_ffff}) {
		t.Errorf("roster %v", got)
	}
	if _, err := other.Register(self(t, other, 2)); !errors.Is(err, ErrTaken) {
		t.Errorf("%v, want ErrTaken", err)
	}
	holders, err := other.Roster()
	if err != nil || holders[0] != self(t, c, 2) {
		t.Errorf("recorded %+v, %v", holders[0], err)
	}
	for range 2 {
		if err := two.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := roster(t, other); !slices.Equal(got, []uint64{3, 0xffff_ffff_ffff_ffff}) {
		t.Errorf("roster %v after one has left", got)
	}
	register(t, other, 2)
}

// What a crash leaves behind neither counts nor stays, nor hinders its
// successor.
func TestCrashedCandidate(t *testing.T) {
	for name, look := range map[string]func(t *testing.T, c *Cell, post *Post){
		"roster": func(t *testing.T, c *Cell, _ *Post) {
			t.Helper()
			if got := roster(t, c); !slices.Equal(got, []uint64{1}) {
				t.Errorf("roster %v, want who has not crashed", got)
			}
		},
		"send": func(t *testing.T, _ *Cell, post *Post) {
			t.Helper()
			if err := post.Send(5, []byte("beat")); !errors.Is(err, ErrAbsent) {
				t.Errorf("%v, want ErrAbsent", err)
			}
		},
		"successor": func(t *testing.T, c *Cell, _ *Post) {
			t.Helper()
			seat := register(t, c, 5)
			if _, err := c.Join(5); err != nil {
				t.Error(err)
			}
			if err := seat.Close(); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cell(t)
			post := join(t, c, 1)
			crasher := start(t, "hold", c.Dir(), 5)
			crasher.line(t)
			crasher.kill(t)
			all := []string{seatName(1), sockName(1), seatName(5), sockName(5), idName, lockName}
			if got := files(t, c.Dir()); !slices.Equal(got, all) {
				t.Fatalf("the crash left %v, want %v", got, all)
			}
			look(t, c, post)
			want := slices.Delete(all, 2, 4)
			if got := files(t, c.Dir()); !slices.Equal(got, want) {
				t.Errorf("files %v, want %v", got, want)
			}
			lock(t, c)
		})
	}
}

// A sweeper that stands still halfway does not make the dead look alive.
func TestStoppedSweeper(t *testing.T) {
	c := cell(t)
	crasher := start(t, "hold", c.Dir(), 5)
	crasher.line(t)
	crasher.kill(t)
	f, err := c.regular(seatName(5), os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := grip(f); err != nil {
		t.Fatal(err)
	}
	if got := roster(t, c); len(got) != 0 {
		t.Errorf("roster %v, want nobody", got)
	}
}

func TestCrowdedRoster(t *testing.T) {
	c := cell(t)
	for i := range uint64(MaxCandidates) {
		register(t, c, i+1)
	}
	if _, err := c.Register(self(t, c, 1000)); !errors.Is(err, ErrCrowded) {
		t.Errorf("%v, want ErrCrowded", err)
	}
	if got := roster(t, c); len(got) != MaxCandidates {
		t.Errorf("%d candidates, want %d", len(got), MaxCandidates)
	}
}

func TestForeignFiles(t *testing.T) {
	c := cell(t)
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(c.Dir(), name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone := start(t, "idle", c.Dir(), 1)
	gone.line(t)
	gone.kill(t)
	write(fmt.Sprintf("%s%d-1", tempPrefix, gone.Process.Pid), nil) // a crash while making a file
	write(fmt.Sprintf("%s%d-1", tempPrefix, os.Getpid()), nil)      // one that is being made
	write(seatName(9), []byte("garbage"))                           // nobody's
	write("README", []byte("a cell"))
	write("xyz"+seatSuffix, nil)
	write("1"+seatSuffix, nil)

	living := register(t, c, 7)
	if _, err := living.file.WriteAt([]byte("garbage"), 0); err != nil {
		t.Fatal(err)
	}
	holders, err := c.Roster()
	if err != nil || len(holders) != 1 || holders[0] != (Holder{Candidate: 7}) {
		t.Errorf("roster %+v, %v, want one with an id alone", holders, err)
	}
	want := []string{fmt.Sprintf("%s%d-1", tempPrefix, os.Getpid()), seatName(7), "1" + seatSuffix, "README", idName, "xyz" + seatSuffix}
	got := files(t, c.Dir())
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	for i := range maxNames {
		write(fmt.Sprint("other", i), nil)
	}
	if _, err := c.Roster(); err == nil {
		t.Error("a folder of thousands of foreign files is no cell")
	}
}

// Candidates in different pid namespaces could neither watch nor kill each
// other.
func TestRosterElsewhere(t *testing.T) {
	c := cell(t)
	h := self(t, c, 1)
	h.PIDNS++
	seat, err := c.Register(h)
	if err != nil {
		t.Fatal(err)
	}
	defer seat.Close()
	if _, err := c.Register(self(t, c, 2)); !errors.Is(err, ErrElsewhere) {
		t.Errorf("%v, want ErrElsewhere", err)
	}
	if got := roster(t, c); !slices.Equal(got, []uint64{1}) {
		t.Errorf("roster %v", got)
	}
}

func BenchmarkRosterOfFive(b *testing.B) {
	c := cell(b)
	for i := range uint64(5) {
		register(b, c, i+1)
	}
	for b.Loop() {
		if got := roster(b, c); len(got) != 5 {
			b.Fatal(got)
		}
	}
}
