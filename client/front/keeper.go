package front

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// Turn and rest of a session that a route keeps.
const (
	keepTurn = 100 * time.Millisecond // after that it is closed, and somebody else has his turn
	keepRest = 50 * time.Millisecond  // without a call it is given back
	keepLook = keepRest / 2           // how often that is looked at
)

// lastPriority has a session that serves many requests queue behind everybody
// whose session serves one.
const lastPriority = -8

// keeper makes the calls of one route in sessions that it keeps open for a
// moment, each for one call at a time and a few behind it: where calls are short,
// opening a session for each is most of their cost.
//
//	free slot -> open -> calls, for a turn -> closed when the last has ended
//
// Whoever waits for a slot of the pool at the broker gets it between two turns.
type keeper struct {
	// fixed after newKeeper
	client *client.Client
	pool   string
	most   int // sessions
	ahead  int // calls that one may have at once
	opts   []client.OpenOption
	ctx    context.Context //nolint:containedctx // of its opens, which outlive the request that asked for them
	stop   context.CancelFunc
	end    func(*held)    // closes one
	opens  sync.WaitGroup // and closes

	mu      sync.Mutex
	open    []*held // those that take calls
	opening int
	waiting []chan taken // first come, first served; each has room for its answer
	closed  bool
}

// held is one session of a keeper's.
type held struct {
	session *client.Session
	until   time.Time // the end of its turn

	// guarded by the keeper's mutex
	calls int           // under way
	over  bool          // it takes no more
	used  bool          // since the last look
	idle  time.Duration // how long it has not been, at the last look
	look  *time.Timer
}

// taken is what a request that waited gets.
type taken struct {
	held *held
	err  error
}

func newKeeper(c *client.Client, r *Route, opts []client.OpenOption) *keeper {
	last := append(slices.Clone(opts), client.WithPriority(lastPriority))
	k := &keeper{client: c, pool: r.Pool, most: r.Keep, ahead: max(r.Ahead, 1), opts: last, end: shut}
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k
}

// take returns a session for one call, and waits for one until ctx ends. The
// caller leaves it.
func (k *keeper) take(ctx context.Context) (*held, error) {
	k.mu.Lock()
	h := k.fullest()
	if h == nil && len(k.open)+k.opening < k.most && !k.closed {
		k.begin()
	}
	if h != nil {
		h.enter()
		k.mu.Unlock()
		return h, nil
	}
	if k.closed {
		k.mu.Unlock()
		return nil, &session.Error{Code: session.ErrClientDone, Outcome: session.NotRun}
	}
	turn := make(chan taken, 1)
	k.waiting = append(k.waiting, turn)
	k.mu.Unlock()
	select {
	case got := <-turn:
		return got.held, got.err
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.waiting {
		if k.waiting[i] == turn {
			k.waiting = append(k.waiting[:i], k.waiting[i+1:]...)
			return nil, timeUp(ctx)
		}
	}
	got := <-turn // its turn came all the same
	return got.held, got.err
}

// timeUp is the error of a request that no session came free for.
func timeUp(ctx context.Context) error {
	code := session.ErrCancelled
	if context.Cause(ctx) == context.DeadlineExceeded { //nolint:errorlint // it is never wrapped
		code = session.ErrDeadline
	}
	if context.Cause(ctx) == errNoTurn { //nolint:errorlint // likewise
		code = session.ErrNoWorker
	}
	return &session.Error{Code: code, Outcome: session.NotRun, Cause: ctx.Err()}
}

// fullest is the open session with the most calls that takes one more, nil if
// there is none: calls that go together to one worker cost less than those that go
// to several, and a session that is not needed is given back. With mu.
func (k *keeper) fullest() *held {
	for {
		var best *held
		for _, h := range k.open {
			if h.calls < k.ahead && (best == nil || h.calls > best.calls) {
				best = h
			}
		}
		if best == nil || best.session.Err() == nil {
			return best
		}
		k.retire(best) // it was lost between two calls
	}
}

func (h *held) enter() {
	h.calls++
	h.used = true
}

// begin opens one more session, apart from the request that asks for it. With mu.
func (k *keeper) begin() {
	k.opening++
	k.opens.Go(func() {
		s, err := k.client.Open(k.ctx, k.pool, k.opts...)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.opening--
		if err != nil {
			k.failed(err)
			return
		}
		h := &held{session: s, until: time.Now().Add(keepTurn), over: k.closed}
		if h.over {
			k.settle(h)
			return
		}
		k.open = append(k.open, h)
		h.look = time.AfterFunc(keepLook, func() { k.look(h) })
		k.serve(h)
	})
}

// failed passes an open's error on to those for whom there is no other session.
// With mu.
func (k *keeper) failed(err error) {
	if len(k.open) > 0 || k.opening > 0 {
		return
	}
	for _, w := range k.waiting {
		w <- taken{err: err}
	}
	k.waiting = nil
}

// serve gives a session to those who wait. With mu.
func (k *keeper) serve(h *held) {
	for len(k.waiting) > 0 && !h.over && h.calls < k.ahead {
		h.enter()
		k.waiting[0] <- taken{held: h}
		k.waiting = k.waiting[1:]
	}
}

// leave ends a call's use of a session.
func (k *keeper) leave(h *held) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h.calls--
	h.used = true
	switch {
	case h.over:
		k.settle(h)
	case k.closed || len(k.waiting) > 0 && h.session.Err() != nil:
		k.retire(h) // which settles it
	default:
		k.serve(h)
	}
}

// look ends a session's turn, or its rest. That it does so, and no call, saves each
// of them a look at the clock.
func (k *keeper) look(h *held) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.over || k.closed {
		return
	}
	if h.idle += keepLook; h.used || h.calls > 0 {
		h.idle = 0
	}
	h.used = false
	if h.idle >= keepRest || !time.Now().Before(h.until) {
		k.retire(h)
		return
	}
	h.look.Reset(keepLook)
}

// retire takes a session out of use. With mu.
func (k *keeper) retire(h *held) {
	h.over = true
	if h.look != nil {
		h.look.Stop()
	}
	for i := range k.open {
		if k.open[i] == h {
			k.open = append(k.open[:i], k.open[i+1:]...)
			break
		}
	}
	if len(k.waiting) > 0 && len(k.open)+k.opening < k.most && !k.closed {
		k.begin()
	}
	k.settle(h)
}

// settle closes a session that is out of use, once it has no calls. With mu.
func (k *keeper) settle(h *held) {
	if h.calls == 0 {
		k.opens.Go(func() { k.end(h) })
	}
}

func shut(h *held) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = h.session.Close(ctx) // its lease ends it otherwise
}

// close ends all sessions. Nobody has one in use any more.
func (k *keeper) close() {
	k.stop()
	k.mu.Lock()
	k.closed = true
	for len(k.open) > 0 {
		k.retire(k.open[0])
	}
	k.mu.Unlock()
	k.opens.Wait()
}
