package worker

import (
	"fmt"
	"runtime/debug"

	"github.com/limpet-rpc/limpet/worker/core"
)

// Bounds of sessions with a thread of their own. Go ends a process at 10,000
// threads unless told otherwise, and the kernel's process ids end near 32,000.
const (
	threadsMost  = 30_000
	threadsSpare = 1_000 // for everything else in the process
)

// allowThreads raises Go's limit on purpose where the locked slots ask for it,
// and refuses slots that could only end the process.
func allowThreads(pools []core.Pool) error {
	locked := 0
	for _, p := range pools {
		if p.Locked {
			locked += p.Slots
		}
	}
	if locked > threadsMost {
		return fmt.Errorf("%d slots with a thread each, at most %d in one process", locked, threadsMost)
	}
	if need := locked + threadsSpare; locked > 0 {
		if before := debug.SetMaxThreads(need); before > need {
			debug.SetMaxThreads(before)
		}
	}
	return nil
}
