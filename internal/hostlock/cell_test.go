//go:build linux

package hostlock

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

func open(t testing.TB, dir string) *Cell {
	t.Helper()
	c, err := OpenCell(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// cell is a new one in a folder of its own.
func cell(t testing.TB) *Cell {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "cell"))
}

func self(t testing.TB, c *Cell, candidate uint64) Holder {
	t.Helper()
	h, err := c.Self(candidate, "tcp://127.0.0.1:7777")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestCellIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cell")
	ids := make([]uuid.UUID, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			c, err := OpenCell(dir)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = c.ID()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || id == uuid.Nil {
			t.Errorf("ids %v: want one and the same", ids)
		}
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v, want mode 0700", info.Mode(), err)
	}
	if left := files(t, dir); len(left) != 1 || left[0] != idName {
		t.Errorf("files %v, want %s alone", left, idName)
	}
}

func files(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestRefusedFolders(t *testing.T) {
	dir := t.TempDir()
	made := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := "/" // to anybody but root
	if os.Getuid() == 0 {
		foreign = made("foreign", 0o700)
		if err := os.Chown(foreign, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, dir string
		want      error
		says      string
	}{
		{"missing, and its parent", filepath.Join(dir, "no", "cell"), ErrMissing, "make " + filepath.Join(dir, "no") + " first"},
		{"a file", file, ErrNotDir, "name a folder of its own"},
		{"below a file", filepath.Join(file, "cell"), ErrNotDir, "name a folder of its own"},
		{"read-only by mode", made("sealed", 0o500), ErrReadOnly, "chmod u+rwx"},
		{"another user's", foreign, ErrOwner, "run all candidates as its owner"},
		{"writable by the group", made("group", 0o770), ErrExposed, "chmod go-w"},
		{"writable by all", made("all", 0o777), ErrExposed, "chmod go-w"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := OpenCell(tt.dir)
			if err == nil {
				t.Fatal(c.Close(), "opened")
			}
			var cellErr *CellError
			if !errors.Is(err, tt.want) || !errors.As(err, &cellErr) || cellErr.Dir != tt.dir {
				t.Errorf("%v, want a CellError of %v in %s", err, tt.want, tt.dir)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q does not say %q", err, tt.says)
			}
			t.Log(err)
		})
	}
}

func TestNetworkFileSystems(t *testing.T) {
	for magic, name := range networks {
		dir := filepath.Join(t.TempDir(), "cell")
		_, err := openCell(dir, func(*os.File) (uint32, error) { return magic, nil })
		if !errors.Is(err, ErrNetwork) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want ErrNetwork", name, err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: the folder that was made for it is still there: %v", name, err)
		}
	}
	proc, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	if magic, err := filesystem(proc); err != nil || magic != unix.PROC_SUPER_MAGIC {
		t.Errorf("/proc is %#x, %v", magic, err)
	}
}

func TestReadOnlyMount(t *testing.T) {
	c := apart(t, "sealed", t.TempDir(), 0, syscall.CLONE_NEWNS)
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

func root(t testing.TB, doing string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("not run: %s needs root", doing)
	}
}

// sealed mounts a file system for itself alone, makes a cell there, and sees
// it refused once it is mounted read-only.
func sealed(dir string, _ uint64) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700"); err != nil {
		return err
	}
	c, err := OpenCell(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(c.Close(), unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
		return err
	}
	for _, path := range []string{dir, filepath.Join(dir, "new")} {
		if _, err := OpenCell(path); !errors.Is(err, ErrReadOnly) && !errors.Is(err, ErrMissing) {
			return errors.Join(errors.New(path+" is not refused"), err)
		}
	}
	if _, err := OpenCell(dir); !errors.Is(err, ErrReadOnly) {
		return errors.Join(errors.New("want ErrReadOnly"), err)
	}
	return nil
}

// A damaged id is restored from the lock file, and never made anew.
func TestDamagedID(t *testing.T) {
	c := cell(t)
	path := filepath.Join(c.Dir(), idName)
	damage := func() {
		if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	if _, err := OpenCell(c.Dir()); !errors.Is(err, ErrGarbage) {
		t.Errorf("%v, want ErrGarbage", err)
	}
	if _, _, err := c.Holder(); err != nil { // makes the lock file
		t.Fatal(err)
	}
	if again := open(t, c.Dir()); again.ID() != c.ID() {
		t.Errorf("id %v, want %v", again.ID(), c.ID())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if again := open(t, c.Dir()); again.ID() != c.ID() {
		t.Errorf("id %v after it was removed, want %v", again.ID(), c.ID())
	}
}
