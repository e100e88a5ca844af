//go:build linux

package hostlock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// Errors of the lock.
var (
	ErrHeld  = errors.New("held by another")
	ErrEpoch = errors.New("the epoch is not greater than the recorded one")
	ErrLost  = errors.New("the lock file has been removed or replaced")
)

const (
	lockName = "lock"
	stride   = 4096 // from one copy to the other: never in the same block
	lockSize = stride + recordSize
	looks    = 3 // at a file that is being written
)

// Lock is the lock of a cell, held by this process. Whoever has taken it keeps
// it: one that is garbage collected is released. Its methods may be called by
// several goroutines.
type Lock struct {
	cell *Cell // fixed after TryLock

	mu   sync.Mutex
	file *os.File // nil after Release
}

// TryLock takes the lock, or fails with ErrHeld when another process (or
// another Cell of this one) has it. It does not wait. Nobody is the holder
// until the next Claim.
func (c *Cell) TryLock() (*Lock, error) {
	for range attempts {
		f, err := c.lockFile(os.O_RDWR)
		if err != nil {
			return nil, fmt.Errorf("take the lock of cell %s: %w", c.path, err)
		}
		ours, err := c.take(lockName, f)
		if ours {
			return &Lock{cell: c, file: f}, nil
		}
		_ = f.Close()
		if errors.Is(err, errGripped) {
			return nil, fmt.Errorf("take the lock of cell %s: %w", c.path, ErrHeld)
		}
		if err != nil {
			return nil, fmt.Errorf("take the lock of cell %s: %w", c.path, err)
		}
	}
	return nil, fmt.Errorf("take the lock of cell %s: %w", c.path, ErrLost)
}

// lockFile opens the lock file, and makes it with an empty record if need be.
func (c *Cell) lockFile(flag int) (*os.File, error) {
	for range attempts {
		f, err := c.regular(lockName, flag)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		content := make([]byte, lockSize)
		copy(content, Holder{Cell: c.id}.encode(0))
		copy(content[stride:], Holder{Cell: c.id}.encode(0))
		made, err := c.publish(lockName, content, false)
		if err == nil {
			err = made.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, ErrLost
}

// Holder says who holds the cell: held means that h has claimed it and lives,
// or is stopped, or its death has not been noticed by the kernel. Without held
// it is the last holder, or nobody (PID 0) in a new cell; its Epoch counts.
// With ErrGarbage (and ErrVersion) held is right nevertheless. It takes
// nothing and disturbs no TryLock.
func (c *Cell) Holder() (h Holder, held bool, err error) {
	f, err := c.lockFile(os.O_RDONLY)
	if err != nil {
		return h, false, fmt.Errorf("read the lock of cell %s: %w", c.path, err)
	}
	defer f.Close()
	// In this order: what is read after the claim was seen is the claimant's.
	if held, err = claimed(f); err == nil {
		h, _, err = c.recorded(f)
	}
	if err != nil {
		return h, held, fmt.Errorf("read the lock of cell %s: %w", c.path, err)
	}
	return h, held, nil
}

// recorded reads the record, and which copy of it may be overwritten first.
// Finding both copies half written takes a writer that is as quick as the
// reader: it looks again. With such a writer it may also find the record
// before the newest, and never an older one.
func (c *Cell) recorded(f *os.File) (h Holder, spare int, err error) {
	for range looks {
		h, spare, err = readCopies(f, c.id)
		if !errors.Is(err, ErrGarbage) {
			break
		}
	}
	return h, spare, err
}

// readCopies returns the readable copy with the greater epoch, and which copy
// is the spare one: the worse, or, of two equal ones, that which was written
// last and is perhaps not on the disk yet. With an id, another cell's record
// is garbage.
func readCopies(f io.ReaderAt, id uuid.UUID) (best Holder, spare int, err error) {
	found := false
	for i := range 2 {
		b := make([]byte, recordSize)
		if _, err := f.ReadAt(b, int64(i)*stride); err != nil && !errors.Is(err, io.EOF) {
			return Holder{}, 0, err
		}
		h, first, copyErr := decode(b)
		if copyErr == nil && id != uuid.Nil && h.Cell != id {
			copyErr = fmt.Errorf("the record is of cell %s: %w", h.Cell, ErrGarbage)
		}
		switch {
		case errors.Is(copyErr, ErrVersion):
			return Holder{}, 0, copyErr
		case copyErr != nil:
			err = copyErr
		case !found || h.Epoch > best.Epoch:
			best, spare, found = h, 1-i, true
		case h.Epoch == best.Epoch:
			spare = 1 - first
		}
	}
	if found {
		return best, spare, nil
	}
	return Holder{}, 0, err
}

// lockedID is the cell's id as the lock file has it.
func (c *Cell) lockedID() (uuid.UUID, error) {
	f, err := c.regular(lockName, os.O_RDONLY)
	if err != nil {
		return uuid.Nil, err
	}
	defer f.Close()
	h, _, err := readCopies(f, uuid.Nil)
	return h.Cell, err
}

// Recorded is the last claim, this lock's own or that of the last holder: the
// next claim's epoch is greater than its Epoch. ErrGarbage: nothing can be
// read, and the next claim writes it anew.
func (l *Lock) Recorded() (Holder, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return Holder{}, l.failed("read", os.ErrClosed)
	}
	h, _, err := l.cell.recorded(l.file)
	if err != nil {
		return Holder{}, l.failed("read", err)
	}
	return h, nil
}

func (l *Lock) failed(doing string, err error) error {
	return fmt.Errorf("%s the lock of cell %s: %w", doing, l.cell.path, err)
}

// Claim makes this process the holder, under h.Epoch: ErrEpoch unless that is
// greater than any that can be read. When it returns, the epoch is on the disk
// and Holder shows h to everybody. It repairs a garbage lock file. After an
// error nothing may be done in the name of the epoch, and the next one is
// greater.
func (l *Lock) Claim(h Holder) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.Cell = l.cell.id
	if l.file == nil {
		return l.failed("claim", os.ErrClosed)
	}
	if err := h.writable(); err != nil {
		return l.failed("claim", err)
	}
	last, spare, err := l.cell.recorded(l.file)
	if err != nil && !errors.Is(err, ErrGarbage) {
		return l.failed("claim", err)
	}
	if h.Epoch <= last.Epoch {
		return l.failed("claim", fmt.Errorf("epoch %d after %d: %w", h.Epoch, last.Epoch, ErrEpoch))
	}
	if err := l.write(h, spare); err != nil {
		return l.failed("claim", err)
	}
	if err := claim(l.file); err != nil {
		return l.failed("claim", err)
	}
	return nil
}

// writable refuses what a record cannot hold, and one in another's name.
func (h Holder) writable() error {
	if h.PID != os.Getpid() {
		return fmt.Errorf("in the name of process %d, this is %d", h.PID, os.Getpid())
	}
	if len(h.Endpoint) > MaxEndpoint {
		return fmt.Errorf("endpoint of %d bytes, at most %d", len(h.Endpoint), MaxEndpoint)
	}
	return nil
}

// write puts the record into both copies: it is on the disk before the other
// copy is touched.
func (l *Lock) write(h Holder, first int) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != lockSize {
		if err := l.file.Truncate(lockSize); err != nil {
			return err
		}
	}
	b := h.encode(first)
	if _, err := l.file.WriteAt(b, int64(first)*stride); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(l.file.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	_, err = l.file.WriteAt(b, int64(1-first)*stride)
	return err
}

// Check fails with ErrLost when what is locked is no longer the lock file of
// the folder at the cell's path: someone has removed or replaced one of them,
// another may hold the new one, and this holder must step down. It costs a few
// system calls.
func (l *Lock) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return l.failed("check", os.ErrClosed)
	}
	ours, err := l.cell.bears(lockName, l.file)
	if err == nil && ours {
		ours, err = l.cell.stands()
	}
	if err == nil && !ours {
		err = ErrLost
	}
	if err != nil {
		return l.failed("check", err)
	}
	return nil
}

// stands says whether the cell's path still leads to the folder that is open.
func (c *Cell) stands() (bool, error) {
	there, err := os.Stat(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	here, err := c.dir.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(here, there), nil
}

// Release gives the lock back. The record stays, since its epoch counts. A
// second Release does nothing.
func (l *Lock) Release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	if err := loosen(f); err != nil {
		return l.failed("release", err)
	}
	return nil
}
