package worker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/worker/core"
)

// The lowest limit counts, whoever sets it, and is named.
func TestThreadLimit(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		most  int
		why   string
	}{
		{"nothing can be read", nil, threadsMost, "process ids"},
		{"kernel", map[string]string{"proc/sys/kernel/threads-max": "1032\n", "proc/sys/kernel/pid_max": "4194304\n"}, 1000, "kernel.threads-max"},
		{"maps", map[string]string{"proc/sys/vm/max_map_count": "2064"}, 1000, "vm.max_map_count"},
		{"a group above", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/pids.max": "max\n", "sys/fs/cgroup/a/pids.max": "132\n",
		}, 100, "/a/pids.max"},
		{"a group of old", map[string]string{
			"proc/self/cgroup": "7:cpu:/x\n5:pids:/c\n", "sys/fs/cgroup/pids/c/pids.max": "82\n", "sys/fs/cgroup/pids/x/pids.max": "33",
		}, 50, "pids/c/pids.max"},
		{"less than a process needs", map[string]string{"proc/sys/kernel/threads-max": "5"}, 0, "threads-max"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range test.files {
				at := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := threadLimit(root); got.threads > test.most || got.threads == test.most && !strings.Contains(got.why, test.why) {
				t.Errorf("%d threads by %s, want %d by %s", got.threads, got.why, test.most, test.why)
			}
		})
	}
}

// More slots with a thread each than there can be threads are refused before
// the first is taken.
func TestTooManyThreads(t *testing.T) {
	if err := allowThreads([]core.Pool{{Name: "a", Slots: 20_000, Locked: true}, {Name: "b", Slots: 20_000, Locked: true}}); err == nil {
		t.Error("40,000 threads are allowed")
	}
	if err := allowThreads([]core.Pool{{Name: "a", Slots: 1 << 20, Lanes: 8}}); err != nil {
		t.Errorf("eight lanes: %v", err)
	}
}
