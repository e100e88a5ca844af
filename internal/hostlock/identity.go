//go:build linux

package hostlock

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// Self is this process as a candidate of the cell. Whoever claims sets the
// epoch.
func (c *Cell) Self(candidate uint64, endpoint string) (Holder, error) {
	h, err := whoIs(os.Getpid())
	if err != nil {
		return Holder{}, fmt.Errorf("look who this process is: %w", err)
	}
	h.Candidate, h.Endpoint, h.Cell = candidate, endpoint, c.id
	return h, nil
}

func whoIs(pid int) (Holder, error) {
	here, err := place()
	if err != nil {
		return Holder{}, err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return Holder{}, fmt.Errorf("pidfd (Linux 5.3 or newer is needed): %w", err)
	}
	defer unix.Close(fd)
	h, err := look(pid, fd)
	h.Boot, h.PIDNS = here.Boot, here.PIDNS
	return h, err
}

// place is where a pid means something: boot and pid namespace of this
// process, checked against what /proc shows.
func place() (Holder, error) {
	shown, err := os.Readlink("/proc/self")
	if err != nil {
		return Holder{}, fmt.Errorf("no /proc: %w", err)
	}
	if shown != strconv.Itoa(os.Getpid()) {
		return Holder{}, fmt.Errorf("/proc is of another pid namespace: it calls pid %d %s", os.Getpid(), shown)
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &ns); err != nil {
		return Holder{}, fmt.Errorf("pid namespace: %w", err)
	}
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Holder{}, fmt.Errorf("boot id: %w", err)
	}
	boot, err := uuid.ParseBytes(bytes.TrimSpace(text))
	return Holder{PIDNS: ns.Ino, Boot: boot}, err
}

// look reads what /proc says about a pid, whose pidfd is fd.
func look(pid, fd int) (h Holder, err error) {
	h.PID = pid
	text, err := os.ReadFile(proc(pid, "stat"))
	if err != nil {
		return h, err
	}
	if h.Start, err = startTime(string(text)); err != nil {
		return h, err
	}
	if text, err = os.ReadFile(proc(pid, "status")); err != nil {
		return h, err
	}
	if h.UID, err = effectiveUID(string(text)); err != nil {
		return h, err
	}
	if h.Exe, err = program(proc(pid, "exe")); err != nil {
		return h, err
	}
	h.Unique, err = unique(fd)
	return h, err
}

func proc(pid int, file string) string { return fmt.Sprintf("/proc/%d/%s", pid, file) }

// startTime is field 22 of /proc/PID/stat; field 2, the program's name in
// parentheses, may hold anything.
func startTime(stat string) (uint64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const third, start = 3, 22
	if len(fields) <= start-third {
		return 0, errors.New("no start time in /proc")
	}
	return strconv.ParseUint(fields[start-third], 10, 64)
}

func effectiveUID(status string) (int, error) {
	_, line, _ := strings.Cut(status, "\nUid:")
	line, _, _ = strings.Cut(line, "\n")
	ids := strings.Fields(line) // real, effective, saved, file system
	if len(ids) < 2 {
		return 0, errors.New("no user id in /proc")
	}
	return strconv.Atoi(ids[1])
}

// program looks through the link, which leads to the program that runs even
// where its file has been replaced since.
func program(link string) (Exe, error) {
	var st unix.Stat_t
	if err := unix.Stat(link, &st); err != nil {
		return Exe{}, fmt.Errorf("program file %s: %w", link, err)
	}
	path, err := os.Readlink(link)
	return Exe{Dev: st.Dev, Inode: st.Ino, Path: path[:min(len(path), pathMax)]}, err
}

// unique is the number of the process that the kernel never gives twice, or 0
// where it has none.
func unique(pidfd int) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(pidfd, &fs); err != nil {
		return 0, fmt.Errorf("pidfd: %w", err)
	}
	if uint32(fs.Type) != unix.PID_FS_MAGIC {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(pidfd, &st); err != nil {
		return 0, fmt.Errorf("pidfd: %w", err)
	}
	return st.Ino, nil
}

// differs names the first thing in which the process that was found is not the
// recorded one, or is empty.
func (h Holder) differs(found Holder) string {
	switch {
	case h.Unique != 0 && found.Unique != 0 && h.Unique != found.Unique:
		return fmt.Sprintf("the kernel's number is %d, not %d", found.Unique, h.Unique)
	case h.Start != found.Start:
		return fmt.Sprintf("it started at tick %d, not %d", found.Start, h.Start)
	case h.UID != found.UID:
		return fmt.Sprintf("its user is %d, not %d", found.UID, h.UID)
	case h.Exe.Dev != found.Exe.Dev || h.Exe.Inode != found.Exe.Inode:
		return fmt.Sprintf("it runs %s, not %s", found.Exe.Path, h.Exe.Path)
	}
	return ""
}
