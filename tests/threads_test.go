package tests

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// manyProcessors is a GOMAXPROCS with which threads of sessions wait at bells in every
// test here, and fewProcessors one with which none does.
const manyProcessors, fewProcessors = 68, 4

// waitsAtBell is in the stack of a thread that does.
const waitsAtBell = "worker.(*bell).wait"

// processors sets GOMAXPROCS for a test and the processes that it starts.
func processors(t *testing.T, n int) {
	t.Helper()
	before := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	t.Setenv("GOMAXPROCS", strconv.Itoa(n))
}

// What is promised of pools with LockThread holds likewise, however their threads wait.
func TestHowThreadsWait(t *testing.T) {
	for name, procs := range map[string]int{"at bells": manyProcessors, "as goroutines": fewProcessors} {
		t.Run(name, func(t *testing.T) {
			processors(t, procs)
			t.Run("load", func(t *testing.T) { threadsUnderLoad(t, procs == manyProcessors) })
			t.Run("ends", TestThreadsEndWithTheirSessions)
			t.Run("panics", TestHandlerPanics)
			t.Run("exits", TestHandlerExits)
			t.Run("hangs", TestHangs)
			t.Run("warm", TestWarmWorkers)
			t.Run("grows", TestWarmWorkersOfAPoolThatGrows)
		})
	}
}

// threadsUnderLoad has sessions come, call all at once, and go, while the collector runs.
func threadsUnderLoad(t *testing.T, bells bool) {
	t.Helper()
	c := newCell(t, broker.Options{})
	const slots, lives, calls = 40, 3, 200
	c.serve(t, worker.Options{}, place("pit", slots))
	cl := c.dial(t)
	first := open(t, cl, "pit")
	mustCall[here](t, first, "where", 1)
	if bells {
		eventually(t, "the session's thread waits at its bell", func() bool { return bytes.Contains(stacks(), []byte(waitsAtBell)) })
	} else if bytes.Contains(stacks(), []byte(waitsAtBell)) {
		t.Error("it waits at a bell")
	}
	closeSession(t, first)

	var load, collect sync.WaitGroup
	over := make(chan struct{})
	collect.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				runtime.GC()
			}
		}
	})
	for range slots {
		load.Go(func() {
			for range lives {
				lifeInPit(t, cl, calls)
			}
		})
	}
	load.Wait()
	close(over)
	collect.Wait()
	eventually(t, "all slots are free", func() bool { return c.pool(t, "pit").Free == slots })
}

// lifeInPit is one session of threadsUnderLoad, from its open to its close.
func lifeInPit(t *testing.T, cl *client.Client, calls int) {
	t.Helper()
	ctx := t.Context()
	s, err := cl.Open(ctx, "pit", client.WithWait(long))
	if err != nil {
		t.Error(err)
		return
	}
	defer closeSession(t, s)
	thread := 0
	for n := range calls {
		h, err := client.Call[here](ctx, s, "where", n)
		switch {
		case err != nil:
			t.Errorf("call %d: %v", n, err)
			return
		case h.Arg != n || n > 0 && h.Thread != thread:
			t.Errorf("call %d is answered as %d, on thread %d, which was %d", n, h.Arg, h.Thread, thread)
		}
		thread = h.Thread
	}
}
