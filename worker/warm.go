package worker

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// How long a pool waits before it prepares the next state after one that
// failed: twice as long each time.
const (
	failedPause     = 100 * time.Millisecond
	failedPauseMost = 30 * time.Second
)

// stock keeps a pool's warm workers: goroutines, on their own threads where the
// pool wants that, whose Prepare runs or has run and that wait for a session.
// Each stands on a slot that is free for everybody else: sessions and warm
// workers together are never more than the slots.
type stock struct {
	// fixed
	node *node
	pool Served
	name string
	most int

	mu    sync.Mutex
	slots int      // that the pool has now
	warm  []*spare // the oldest first
	held  int      // sessions
	pause time.Duration
	timer *time.Timer // runs after a failure; nil while none does
	ended bool
}

// spare is one warm worker.
type spare struct {
	stock  *stock
	cancel context.CancelFunc
	next   chan *task // holds one; closed: nobody comes
	ready  bool       // guarded by the stock's mu

	state any // owned by the goroutine
}

// newStocks makes the stocks of the pools that keep any.
func newStocks(n *node) map[string]*stock {
	all := map[string]*stock{}
	for name, p := range n.pools {
		if most, slots := p.warm(); most > 0 {
			all[name] = &stock{node: n, pool: p, name: name, most: most, slots: slots}
		}
	}
	return all
}

func (n *node) startStocks() {
	for _, k := range n.stocks {
		k.mu.Lock()
		k.fill()
		k.mu.Unlock()
	}
}

// endStocks gives the warm states up. Nothing is prepared ahead any more.
func (n *node) endStocks() {
	for _, k := range n.stocks {
		k.mu.Lock()
		k.ended = true
		if k.timer != nil {
			k.timer.Stop()
		}
		for _, w := range k.warm {
			w.cancel()
			close(w.next)
		}
		k.warm = nil
		k.mu.Unlock()
	}
}

// fill starts as many warm workers as there are to be. The caller holds mu.
func (k *stock) fill() {
	for !k.ended && k.timer == nil && len(k.warm) < k.most && k.held+len(k.warm) < k.slots {
		ctx, cancel := context.WithCancel(context.Background())
		w := &spare{stock: k, cancel: cancel, next: make(chan *task, 1)}
		k.warm = append(k.warm, w)
		k.node.tasks.Add(1)
		go w.run(ctx)
	}
}

// resize takes that the pool has other slots now. Warm workers that have none
// any more are given up, the youngest first.
func (k *stock) resize(slots int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.slots = slots
	for len(k.warm) > 0 && k.held+len(k.warm) > slots {
		last := k.warm[len(k.warm)-1]
		k.warm = k.warm[:len(k.warm)-1]
		last.cancel()
		close(last.next)
	}
	k.fill()
}

// take gives a session to a warm worker: to one that is ready, or else to one
// that will be. It reports false where there is none. It does not wait.
func (k *stock) take(t *task) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held++
	defer k.fill()
	if len(k.warm) == 0 {
		return false
	}
	i := max(0, slices.IndexFunc(k.warm, func(w *spare) bool { return w.ready }))
	w := k.warm[i]
	k.warm = slices.Delete(k.warm, i, i+1)
	if !w.ready {
		context.AfterFunc(t.current, w.cancel) // it is this session's Prepare now
	}
	w.next <- t
	return true
}

// back takes note that a session's goroutine has ended.
func (k *stock) back() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held--
	k.fill()
}

// prepared takes note of the end of a Prepare. After one that failed the next
// waits.
func (k *stock) prepared(w *spare, err error) {
	if again := k.note(w, err); again > 0 {
		k.node.log.Warn("no warm worker: Prepare failed", "pool", k.name, "error", err, "again", again)
	}
}

// note returns after how long the next one is made, 0 where nothing failed or
// that is known already.
func (k *stock) note(w *spare, err error) (again time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		w.ready, k.pause = true, 0
		return 0
	}
	k.warm = slices.DeleteFunc(k.warm, func(one *spare) bool { return one == w })
	if k.ended || k.timer != nil {
		return 0
	}
	k.pause = min(max(failedPause, 2*k.pause), failedPauseMost)
	k.timer = time.AfterFunc(k.pause, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.timer = nil
		k.fill()
	})
	return k.pause
}

// run is a warm worker's life: it becomes its session's goroutine, or ends.
func (w *spare) run(ctx context.Context) {
	defer w.stock.node.tasks.Done()
	defer w.cancel()
	if lock, _ := w.stock.pool.locks(); lock {
		runtime.LockOSThread() // and the thread ends with it
	}
	if !w.prepare(ctx) {
		return
	}
	if t := <-w.next; t != nil {
		defer t.node.tasks.Done()
		defer t.stock.back()
		t.info.prepared = w.state
		if t.starts() {
			t.finish()
		}
		return
	}
	w.discard()
}

// prepare reports whether there is a state. Where there is none, whoever was
// given to this worker meanwhile learns why.
func (w *spare) prepare(ctx context.Context) (ok bool) {
	k, err := w.stock, errExit
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Prepare: %v", p)
			k.node.log.Error("panic in Prepare", "pool", k.name, "panic", p, "stack", stack())
		}
		if k.prepared(w, err); err != nil {
			w.refuse(err)
		}
	}()
	w.state, err = k.pool.prepare(ctx)
	return err == nil
}

// refuse ends the open of a session that waits for a state that there is not.
func (w *spare) refuse(err error) {
	select {
	case t := <-w.next:
		if t != nil {
			t.current.finish(context.Canceled)
			t.node.openDone(t, err)
			t.node.tasks.Done()
			w.stock.back()
		}
	default: // nobody: it has left the stock
	}
}

// discard ends a state that no session came for.
func (w *spare) discard() {
	k := w.stock
	defer func() {
		if p := recover(); p != nil {
			k.node.log.Error("panic in Close", "pool", k.name, "panic", p, "stack", stack())
		}
	}()
	k.pool.discard(w.state, &session.Error{Code: session.ErrSessionDrained, Text: "no session came for it", Remote: true})
}
