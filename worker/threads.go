package worker

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/worker/core"
)

// Bounds of sessions with a thread of their own. Go ends a process at 10,000
// threads unless told otherwise, and the kernel's process ids end near 32,000.
const (
	threadsMost  = 30_000
	threadsSpare = 1_000 // for everything else in the process
	threadsLeast = 32    // of those, what a process has that does little else
)

// allowThreads raises Go's limit on purpose where the locked slots and lanes
// ask for it, and refuses slots that could only end the process: a thread that
// cannot be made does.
func allowThreads(pools []core.Pool) error {
	locked := 0
	for _, p := range pools {
		if locked += p.Lanes; p.Locked {
			locked += p.Capacity()
		}
	}
	if locked == 0 {
		return nil
	}
	if most := threadLimit("/"); locked > most.threads {
		return fmt.Errorf("%d slots and lanes with a thread each, at most %d in one process: %s", locked, most.threads, most.why)
	}
	need := locked + threadsSpare
	if before := debug.SetMaxThreads(need); before > need {
		debug.SetMaxThreads(before)
	}
	return nil
}

// threadCap is how many threads something leaves for slots and lanes.
type threadCap struct {
	threads int
	why     string
}

// threadLimit is the lowest limit that the system below root sets this process
// and that can be known ahead: what others of the same user or machine will take
// of it cannot. A limit that cannot be read sets none.
func threadLimit(root string) threadCap {
	caps := []threadCap{{threadsMost, "process ids end near 32,000"}}
	add := func(most int, why string) {
		if most > 0 {
			caps = append(caps, threadCap{max(0, most-threadsLeast), why})
		}
	}
	for _, name := range []string{"threads-max", "pid_max"} {
		add(number(filepath.Join(root, "proc/sys/kernel", name)), "kernel."+name)
	}
	add(number(filepath.Join(root, "proc/sys/vm/max_map_count"))/2, "vm.max_map_count, two maps a thread")
	for _, file := range pidsFiles(root) {
		add(number(file), "the control group's "+file)
	}
	var user unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &user) == nil && os.Getuid() != 0 && user.Cur < threadsMost {
		add(int(user.Cur), "ulimit -u")
	}
	return slices.MinFunc(caps, func(a, b threadCap) int { return cmp.Compare(a.threads, b.threads) })
}

// pidsFiles are where the control groups of this process, from its own up to
// the root's, say how many threads they may have.
func pidsFiles(root string) (files []string) {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(groups)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		base := filepath.Join(root, "sys/fs/cgroup")
		switch {
		case controllers == "":
		case slices.Contains(strings.Split(controllers, ","), "pids"):
			base = filepath.Join(base, "pids")
		default:
			continue
		}
		for at := filepath.Clean("/" + group); ; at = filepath.Dir(at) {
			if files = append(files, filepath.Join(base, at, "pids.max")); at == "/" {
				break
			}
		}
	}
	return files
}

// number reads a file that holds one number; "max" and what cannot be read are 0.
func number(file string) int {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}
