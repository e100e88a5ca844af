package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// run drives the loop until ctx has ended and the sessions with it.
func (n *node) run(ctx context.Context) error {
	n.startLanes()
	n.startStocks()
	n.apply(&n.fx, n.loop.Send) // the first Hello
	n.say(time.Now())           // before the first Register
	loopCtx, stopLoop := context.WithCancel(context.Background())
	defer stopLoop()
	ended := make(chan error, 1)
	go func() { ended <- n.loop.Run(loopCtx) }()
	var watch sync.WaitGroup
	watchCtx, stopWatch := context.WithCancel(loopCtx)
	watch.Go(func() { n.watchTheDead(watchCtx) })
	watch.Go(func() { n.coroner.run(watchCtx) })
	defer watch.Wait()
	defer stopLoop()
	defer stopWatch()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", errors.Join(err, errLoopEnded))
	case <-ctx.Done():
		n.drain(context.Background(), n.grace, true)
	case deadline := <-n.drained:
		n.log.Info("draining, as a broker asks", "deadline", deadline)
		n.drain(ctx, deadline, deadline > 0)
	}
	if !n.ended() {
		return fmt.Errorf("serve: %w: %d slots are still held %s after their sessions were ended", errHeld, n.held(), endPatience)
	}
	stopWatch() // who has said good-bye is not believed when it tells of the dead
	watch.Wait()
	n.onLoop(n.core.Leave)
	n.settled()
	n.endLanes()
	stopLoop()
	n.notes.close(n.log)
	if err := <-ended; err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// endPatience is how long handlers, Open and Close may go on after their
// sessions were ended: one that ignores its context must not keep its process.
const endPatience = 10 * time.Second

var errHeld = errors.New("handlers do not end")

var errLoopEnded = errors.New("the socket loop ended by itself")

// ended waits for the sessions' goroutines, for endPatience at the most.
func (n *node) ended() bool {
	all := make(chan struct{})
	go func() { n.tasks.Wait(); close(all) }()
	patience := time.NewTimer(endPatience)
	defer patience.Stop()
	select {
	case <-all:
		return true
	case <-patience.C:
		return false
	}
}

// drain takes nothing new, lets the sessions go on for the grace or, where that
// is not bounded, until ctx ends, and ends those that are left.
func (n *node) drain(ctx context.Context, grace time.Duration, bounded bool) {
	n.locked(func(*core.Effects) { n.core.Drain() })
	n.endStocks()
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	if !bounded {
		deadline.Stop()
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for n.busy() > 0 {
		select {
		case <-look.C:
			continue
		case <-deadline.C:
		case <-ctx.Done():
		}
		n.onLoop(func(fx *core.Effects) {
			n.core.EndAll(time.Now(), session.ErrSessionDrained, "the node is shutting down", fx)
		})
		n.settled() // those that were just begun have a task now
		return
	}
}

// settled waits until the loop has carried out all that the sessions' ends
// asked for.
func (n *node) settled() {
	reached := make(chan struct{})
	n.loop.Do(func() { close(reached) })
	select {
	case <-reached:
	case <-n.loop.Done():
	}
}

func (n *node) held() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.Held()
}

// busy is how many slots are held, and broadcasts run, that may be waited for:
// not handlers that hang.
func (n *node) busy() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.Held() - n.core.Quarantined() + n.core.Errands()
}

// registered reports that some broker knows the node.
func (n *node) registered() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.Registered()
}
