//go:build linux

package hostlock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// What may be wrong with a folder, inside a *CellError.
var (
	ErrMissing  = errors.New("the folder is missing")
	ErrNotDir   = errors.New("not a folder")
	ErrReadOnly = errors.New("the folder is not writable")
	ErrOwner    = errors.New("the folder is another user's")
	ErrExposed  = errors.New("others may write into the folder")
	ErrNetwork  = errors.New("a network file system")
)

// ErrGarbage: a file of the cell holds something else than what was written.
var ErrGarbage = errors.New("garbage")

// CellError is why a folder cannot be a cell. Its text says what to do.
type CellError struct {
	Dir    string
	Reason error  // one of the errors above, or what the system said
	What   string // what was found
	Do     string // what helps
}

func (e *CellError) Error() string {
	if e.What == "" {
		return fmt.Sprintf("cell %s: %v: %s", e.Dir, e.Reason, e.Do)
	}
	return fmt.Sprintf("cell %s: %v (%s): %s", e.Dir, e.Reason, e.What, e.Do)
}

func (e *CellError) Unwrap() error { return e.Reason }

const (
	idName     = "cell"
	tempPrefix = ".new-"
	attempts   = 100 // of what fails only while others make or remove the same file
)

// Cell is an open cell. Its methods may be called by several goroutines and do
// not block, but for the disk.
type Cell struct {
	// fixed after OpenCell
	path string
	root *os.Root
	dir  *os.File // the same folder: for its paths below /proc/self/fd, and for syncs
	id   uuid.UUID

	mu    sync.Mutex
	seats map[uint64]*Seat // of this process, through this Cell
}

// OpenCell opens a folder as a cell. A folder of which only the last element
// is missing is made, for its owner alone. It must be a folder of this user
// into which nobody else may write, on a local disk: otherwise a *CellError.
func OpenCell(dir string) (*Cell, error) {
	return openCell(dir, filesystem)
}

// openCell takes from a test what kind of file system the folder is on.
func openCell(dir string, kind func(*os.File) (uint32, error)) (*Cell, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open cell %q: %w", dir, err)
	}
	c := &Cell{path: path, seats: map[uint64]*Seat{}}
	if err := c.open(kind); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Cell) open(kind func(*os.File) (uint32, error)) (err error) {
	made, err := c.find()
	if err != nil {
		return err
	}
	defer func() {
		if made && err != nil {
			_ = os.Remove(c.path)
		}
	}()
	if c.root, err = os.OpenRoot(c.path); err != nil {
		return c.unopened(err)
	}
	if c.dir, err = c.root.Open("."); err != nil {
		return c.unopened(err)
	}
	if err = c.fit(kind); err != nil {
		return err
	}
	c.id, err = c.identity()
	switch {
	case errors.Is(err, ErrGarbage):
		return c.refuse(err, "", "remove that file once nobody uses the cell")
	case err != nil:
		return c.refuse(err, "", "see that its disk is sound and has room")
	}
	return nil
}

// find looks whether the folder is there, or makes it.
func (c *Cell) find() (made bool, err error) {
	info, err := os.Stat(c.path)
	switch {
	case err == nil && !info.IsDir():
		return false, c.refuse(ErrNotDir, "", "name a folder of its own for the cell")
	case err == nil:
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, c.unopened(err)
	}
	parent := filepath.Dir(c.path)
	err = os.Mkdir(c.path, 0o700)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrExist): // another candidate was quicker
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, c.refuse(ErrMissing, "and so is "+parent, "make "+parent+" first, or name another folder")
	}
	return false, c.refuse(ErrMissing, err.Error(), "make it for the user who runs the brokers, with mode 0700")
}

func (c *Cell) refuse(reason error, what, do string) error {
	return &CellError{Dir: c.path, Reason: reason, What: what, Do: do}
}

func (c *Cell) unopened(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.refuse(ErrMissing, "", "make it with mode 0700")
	case errors.Is(err, unix.ENOTDIR):
		return c.refuse(ErrNotDir, err.Error(), "name a folder of its own for the cell")
	case errors.Is(err, fs.ErrPermission):
		return c.refuse(ErrOwner, err.Error(), "run all candidates as its owner, or name another folder")
	}
	return c.refuse(err, "", "name another folder")
}

// fit checks the folder that is open, not whatever its path leads to by now.
func (c *Cell) fit(kind func(*os.File) (uint32, error)) error {
	fd := int(c.dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return c.refuse(err, "", "name another folder")
	}
	magic, err := kind(c.dir)
	if err != nil {
		return c.refuse(err, "", "name a folder on a local disk")
	}
	name, network := networks[magic]
	switch {
	case network:
		return c.refuse(ErrNetwork, name, "its locks may mean nothing to others who use it; name a folder on a local disk, such as below /run")
	case int(st.Uid) != os.Geteuid():
		return c.refuse(ErrOwner, fmt.Sprintf("uid %d, this is uid %d", st.Uid, os.Geteuid()), "run all candidates as its owner, or name another folder")
	case st.Mode&0o022 != 0:
		return c.refuse(ErrExposed, fmt.Sprintf("mode %04o", st.Mode&0o7777), "chmod go-w it")
	case st.Mode&0o700 != 0o700:
		return c.refuse(ErrReadOnly, fmt.Sprintf("mode %04o", st.Mode&0o7777), "chmod u+rwx it")
	}
	if err := unix.Faccessat(fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return c.refuse(ErrReadOnly, err.Error(), "mount its file system writable, or name another folder")
	}
	return nil
}

// identity reads the cell's id, or makes it. A damaged one is restored from
// the lock file.
func (c *Cell) identity() (uuid.UUID, error) {
	id, err := c.readID()
	switch {
	case err == nil:
		return id, nil
	case errors.Is(err, fs.ErrNotExist):
		if id, err = c.lockedID(); err != nil {
			id = uuid.New()
		}
		return c.keepID(id)
	case !errors.Is(err, ErrGarbage):
		return uuid.Nil, err
	}
	restored, lockErr := c.lockedID()
	if lockErr != nil {
		return uuid.Nil, err
	}
	if err := c.root.Remove(idName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return uuid.Nil, err
	}
	return c.keepID(restored)
}

func (c *Cell) readID() (uuid.UUID, error) {
	f, err := c.regular(idName, os.O_RDONLY)
	if err != nil {
		return uuid.Nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return uuid.Nil, err
	}
	id, err := uuid.ParseBytes(bytes.TrimSpace(text))
	if err != nil {
		return uuid.Nil, fmt.Errorf("file %s holds no id: %w", idName, ErrGarbage)
	}
	return id, nil
}

// keepID writes the id unless another candidate has just written one, and
// says which it is now.
func (c *Cell) keepID(id uuid.UUID) (uuid.UUID, error) {
	f, err := c.publish(idName, []byte(id.String()+"\n"), false)
	if errors.Is(err, fs.ErrExist) {
		return c.readID()
	}
	if err != nil {
		return uuid.Nil, err
	}
	return id, f.Close()
}

// Dir is the folder, as an absolute path.
func (c *Cell) Dir() string { return c.path }

// ID is the cell's id: made with the cell, and kept.
func (c *Cell) ID() uuid.UUID { return c.id }

// Close gives back what the Cell itself has open. Locks, seats and posts are
// their owners', who close them before.
func (c *Cell) Close() error {
	var errs []error
	if c.dir != nil {
		errs = append(errs, c.dir.Close())
	}
	if c.root != nil {
		errs = append(errs, c.root.Close())
	}
	return errors.Join(errs...)
}

// publish makes a file that has its name only once it is whole and on the disk
// (with claimed: gripped and claimed as well), and returns it open. Where the
// name is taken it fails with fs.ErrExist.
func (c *Cell) publish(name string, content []byte, claimed bool) (*os.File, error) {
	for range attempts {
		temp := fmt.Sprintf("%s%d-%016x", tempPrefix, os.Getpid(), rand.Uint64())
		f, err := c.root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		err = fill(f, content, claimed)
		if err == nil {
			err = c.root.Link(temp, name)
		}
		_ = c.root.Remove(temp) // swept by the next one otherwise
		if err == nil {
			return f, c.dir.Sync()
		}
		_ = f.Close()
		if !errors.Is(err, fs.ErrNotExist) { // a sweeper in another pid namespace was quicker
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil, fmt.Errorf("write %s: others removed it %d times", name, attempts)
}

func fill(f *os.File, content []byte, claimed bool) error {
	if _, err := f.Write(content); err != nil {
		return err
	}
	if claimed {
		if err := errors.Join(grip(f), claim(f)); err != nil {
			return err
		}
	}
	return f.Sync()
}

// regular opens a file of the cell that exists. Anything but a file is
// garbage.
func (c *Cell) regular(name string, flag int) (*os.File, error) {
	f, err := c.root.OpenFile(name, flag|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("%s is not a file: %w", name, ErrGarbage)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file: %w", name, ErrGarbage)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// take grips an open file. Not ours: its name was given to another in the
// meantime, or to none.
func (c *Cell) take(name string, f *os.File) (ours bool, err error) {
	if err := grip(f); err != nil {
		return false, err
	}
	return c.bears(name, f)
}

// bears says whether f is still what the name stands for.
func (c *Cell) bears(name string, f *os.File) (bool, error) {
	there, err := c.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	here, err := f.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(here, there), nil
}
