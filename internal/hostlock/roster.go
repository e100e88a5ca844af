//go:build linux

package hostlock

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Errors of the roster.
var (
	ErrTaken   = errors.New("the candidate id is taken")
	ErrCrowded = errors.New("too many candidates")
)

// MaxCandidates is the most candidates that a cell takes.
const MaxCandidates = 64

const (
	maxNames   = 4096 // of files in a cell's folder, the sweepings included
	seatSuffix = ".seat"
	sockSuffix = ".sock"
)

func seatName(candidate uint64) string { return fmt.Sprintf("%016x%s", candidate, seatSuffix) }
func sockName(candidate uint64) string { return fmt.Sprintf("%016x%s", candidate, sockSuffix) }

// seatOf is the candidate whose seat has this name.
func seatOf(name string) (candidate uint64, ok bool) {
	candidate, err := strconv.ParseUint(strings.TrimSuffix(name, seatSuffix), 16, 64)
	return candidate, err == nil && name == seatName(candidate)
}

// Seat is this process's place in the roster, under one candidate id. Whoever
// has it keeps it: one that is garbage collected is given up.
type Seat struct {
	cell      *Cell
	candidate uint64
	file      *os.File

	mu     sync.Mutex
	post   *Post // nil before Join
	closed bool
}

// Register records a candidate in the roster. It stays there until Close or
// until this process has ended, and all the while it is stopped. ErrTaken: a
// living candidate has this id; ErrCrowded: there are MaxCandidates already.
func (c *Cell) Register(h Holder) (*Seat, error) {
	s, err := c.seat(h)
	if err == nil {
		if err = c.room(h); err != nil {
			err = errors.Join(err, s.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register candidate %016x in cell %s: %w", h.Candidate, c.path, err)
	}
	return s, nil
}

func (c *Cell) seat(h Holder) (*Seat, error) {
	h.Cell = c.id
	if err := h.writable(); err != nil {
		return nil, err
	}
	for range attempts {
		f, err := c.publish(seatName(h.Candidate), h.encode(0), true)
		if err == nil {
			s := &Seat{cell: c, candidate: h.Candidate, file: f}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.seats[h.Candidate] = s
			return s, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := c.sweep(h.Candidate); err != nil {
			return nil, err
		}
		if _, living, err := c.seated(h.Candidate); living || err != nil {
			return nil, cmp.Or(err, ErrTaken)
		}
	}
	return nil, ErrTaken
}

// room counts after the seat has been taken: of two who take the last one at
// the same time neither gets it.
func (c *Cell) room(h Holder) error {
	roster, err := c.Roster()
	if err != nil {
		return err
	}
	if len(roster) > MaxCandidates {
		return fmt.Errorf("%w: there are %d", ErrCrowded, MaxCandidates)
	}
	for _, other := range roster {
		if other.PIDNS != h.PIDNS && other.PID != 0 {
			return fmt.Errorf("candidate %016x: %w: candidates of a cell must share one", other.Candidate, ErrElsewhere)
		}
	}
	return nil
}

// Roster is who is registered and has not died, by candidate id, the caller
// included. A living candidate whose record cannot be read counts, with
// nothing but its id. What the dead have left is removed.
func (c *Cell) Roster() ([]Holder, error) {
	files, err := c.files()
	if err != nil {
		return nil, fmt.Errorf("read the roster of cell %s: %w", c.path, err)
	}
	var living []Holder
	for _, name := range files {
		h, there, err := c.entry(name)
		if err != nil {
			return nil, fmt.Errorf("read the roster of cell %s: %w", c.path, err)
		}
		if there {
			living = append(living, h)
		}
	}
	return living, nil
}

// files lists the folder, sorted, up to a limit.
func (c *Cell) files() ([]string, error) {
	dir, err := c.root.Open(".") // its own position in the listing
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxNames + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) > maxNames {
		return nil, fmt.Errorf("the folder has more than %d files, most of them not the cell's: give the cell one of its own", maxNames)
	}
	slices.Sort(names)
	return names, nil
}

// entry reads one file of the folder as a seat, or sweeps it.
func (c *Cell) entry(name string) (h Holder, living bool, err error) {
	if strings.HasPrefix(name, tempPrefix) {
		return h, false, c.discard(name)
	}
	candidate, ok := seatOf(name)
	if !ok {
		return h, false, nil
	}
	if h, living, err = c.seated(candidate); err != nil || living {
		return h, living, err
	}
	return h, false, c.sweep(candidate)
}

// seated reads a candidate's seat; living: its process has it.
func (c *Cell) seated(candidate uint64) (h Holder, living bool, err error) {
	f, err := c.regular(seatName(candidate), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return h, false, nil
	}
	if err != nil {
		return h, false, err
	}
	defer f.Close()
	if living, err = claimed(f); err != nil || !living {
		return h, false, err
	}
	b := make([]byte, recordSize)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return h, false, err
	}
	if h, _, err = decode(b); err != nil || h.Candidate != candidate || h.Cell != c.id {
		h = Holder{Candidate: candidate}
	}
	return h, true, nil
}

// sweep removes the seat of a candidate that has died, and its socket. Only who
// has the seat's flock may, and nobody can take the name before that.
func (c *Cell) sweep(candidate uint64) error {
	name := seatName(candidate)
	f, err := c.regular(name, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	ours, err := c.take(name, f)
	if errors.Is(err, errGripped) { // its owner lives, or another sweeps it
		return nil
	}
	if err != nil || !ours {
		return err
	}
	if err := c.remove(sockName(candidate)); err != nil {
		return err
	}
	return c.remove(name)
}

// discard removes a half made file of a process that is not there any more.
// If it was wrong, its maker makes it again.
func (c *Cell) discard(name string) error {
	maker, _, _ := strings.Cut(strings.TrimPrefix(name, tempPrefix), "-")
	pid, err := strconv.Atoi(maker)
	if err == nil && pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return nil
	}
	return c.remove(name)
}

func (c *Cell) remove(name string) error {
	if err := c.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Close leaves the roster, and closes the candidate's Post if it has one. A
// second Close does nothing.
func (s *Seat) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if s.post != nil {
		errs = append(errs, s.post.Close())
	}
	s.cell.mu.Lock()
	delete(s.cell.seats, s.candidate)
	s.cell.mu.Unlock()
	errs = append(errs, s.cell.remove(seatName(s.candidate)), loosen(s.file))
	return errors.Join(errs...)
}
