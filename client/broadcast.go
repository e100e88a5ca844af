package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// CastOption says more about a broadcast.
type CastOption func(*core.Question)

// InSessions has the method run once in every open session of the pool, on the
// session's worker and with its state, between two of its calls; it is one of
// worker.Handle. Without it a method of worker.HandleCast runs once on every
// node, beside its sessions.
func InSessions() CastOption { return func(q *core.Question) { q.Sessions = true } }

// WithBusyWait bounds how long a session that is at a call is waited for; past
// it the session's fate is FateBusy. Below 0 it is not waited for at all.
// Without it, for as long as it takes.
func WithBusyWait(d time.Duration) CastOption { return func(q *core.Question) { q.Wait = d } }

// WithMemberBudget is WithBudget for the run of each member.
func WithMemberBudget(d time.Duration) CastOption { return func(q *core.Question) { q.Patience = d } }

// Answer is what became of one member of a broadcast.
type Answer[R any] struct {
	Node    session.NodeID
	Name    string     // the node's
	Session session.ID // zero where the member is the node
	Fate    session.Fate
	Value   R // of FateAnswered
}

// Complete is a broadcast that has ended: how many members it was sent to, and
// how many of them had which fate. Every member had exactly one.
type Complete struct {
	Members                                            int
	Answered, Failed, Died, Hung, Left, Deadline, Busy int
}

// All reports that every member has answered.
func (c Complete) All() bool { return c.Answered == c.Members }

func (g *gathering) count(f session.Fate) {
	c := &g.sum
	switch f {
	case session.FateAnswered:
		c.Answered++
	case session.FateFailed:
		c.Failed++
	case session.FateDied:
		c.Died++
	case session.FateHung:
		c.Hung++
	case session.FateLeft:
		c.Left++
	case session.FateDeadline:
		c.Deadline++
	case session.FateBusy:
		c.Busy++
	case session.FateOpen: // nobody hands that on
	}
}

// Cast is a broadcast that was begun with Broadcast. One goroutine may read its
// answers while another waits for its end; Answers is called before that waits.
type Cast[R any] struct{ g *gathering }

// Broadcast asks every member of a pool the same and does not wait: the members
// are those that the broker knows when it takes the question, and each of them
// ends as exactly one session.Fate. It ends when the last one is settled. The
// context's deadline settles those that are left; its cancellation ends it, and
// members that are still at it are told. A pool that nobody serves has no
// members: complete at once.
//
// What members report by worker.Progress has them awaited beyond their budget; its
// values are told to nobody.
func Broadcast[R any](ctx context.Context, c *Client, pool, method string, arg any, opts ...CastOption) *Cast[R] {
	ctx, own := c.span(ctx, pool, method)
	g := &gathering{
		client: c, ctx: ctx, span: own, name: fmt.Sprintf("broadcast %s in pool %q", method, pool),
		news: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	g.begin(pool, method, arg, opts)
	return &Cast[R]{g}
}

// Answers yields every member once, as it is settled; the error is why it has
// no value, nil for FateAnswered. An answer that is not yielded yet keeps room:
// past 4,096, or 1 MiB, the broker holds further ones back. Whoever breaks the loop
// stops the broadcast, as Stop does.
func (c *Cast[R]) Answers() iter.Seq2[Answer[R], error] {
	c.g.claim()
	return func(yield func(Answer[R], error) bool) {
		for {
			m, ok := c.g.next()
			if !ok {
				return
			}
			a, err := answerOf[R](m)
			if !yield(a, err) {
				c.Stop()
				return
			}
		}
	}
}

func answerOf[R any](m *wire.Member) (a Answer[R], err error) {
	a.Node, a.Name, a.Session, a.Fate = m.Node, m.Name, m.Session, m.Fate
	switch {
	case m.Fate == session.FateAnswered && m.Code != 0:
		return a, &session.Error{Code: m.Code, Text: "its answer is no longer kept", Remote: true}
	case m.Fate != session.FateAnswered:
		f := wire.ParseFailure(m.Body)
		return a, &session.Error{Code: m.Code, Text: f.Text, Stack: f.Stack, Remote: true}
	}
	if err := codec.Decode(m.Body, m.Raw, &a.Value); err != nil {
		return a, &session.Error{Code: session.ErrBadMessage, Text: fmt.Sprintf("it answered, its answer does not decode into %T: %s", a.Value, err)}
	}
	return a, nil
}

// Wait blocks until every member is settled, and counts them; answers that
// nobody has read by then are dropped. It is an error where the broadcast did
// not come to its end: refused (session.NotRun), stopped or cancelled, the
// client closed, or no broker that says who the members are by the context's
// deadline. The counts are then of those that were settled.
func (c *Cast[R]) Wait() (Complete, error) {
	for !c.g.claimed() {
		if _, ok := c.g.next(); !ok {
			break
		}
	}
	<-c.g.ended
	return c.g.result()
}

// Members is how many members the broadcast was sent to; known is false while
// the broker has not said so.
func (c *Cast[R]) Members() (n int, known bool) {
	if c.g.core == nil {
		return 0, false
	}
	c.g.client.mu.Lock()
	defer c.g.client.mu.Unlock()
	return c.g.core.Members()
}

// Stop ends the broadcast: members that have not begun never do, the contexts of
// those that have are cancelled, and Wait returns ErrCancelled. It does nothing
// where it has ended.
func (c *Cast[R]) Stop() { c.g.stop(session.ErrCancelled) }

// gathering is a broadcast as the client's loop knows it.
type gathering struct {
	// fixed after begin
	client *Client
	ctx    context.Context //nolint:containedctx // the broadcast's own, as in net/http's Request
	name   string
	core   *core.Cast // nil: it never began
	span   trace.Span // its own, nil: it has none

	news  chan struct{} // holds one: something has been added
	ended chan struct{} // closed at the end

	mu     sync.Mutex
	queue  []core.Answer
	taken  int          // answers
	last   *core.Result // it has ended, once as many answers as this says were taken
	reader bool         // Answers was called: they are his
	sum    Complete
	err    error
	unhook func() bool // from ctx
}

func (g *gathering) begin(pool, method string, arg any, opts []CastOption) {
	fail := func(e *session.Error) { g.settle(&core.Result{Err: e}) }
	if err := g.ctx.Err(); err != nil {
		fail(gaveUp(err))
		return
	}
	q := core.Question{Pool: pool, Method: method, Trace: span.Of(g.ctx)}
	q.Deadline, _ = g.ctx.Deadline()
	for _, o := range opts {
		o(&q)
	}
	var err error
	if q.Args, q.Raw, err = codec.Append(nil, arg); err != nil {
		fail(&session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: err.Error()})
		return
	}
	var refused *session.Error
	if !g.client.step(func(now time.Time, fx *core.Effects) { g.core, refused = g.client.core.Broadcast(now, q, g, fx) }) {
		refused = errDone
	}
	if refused != nil {
		fail(refused)
		return
	}
	unhook := context.AfterFunc(g.ctx, g.giveUp)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unhook = unhook
	select {
	case <-g.ended: // before there was anything to unhook
		unhook()
	default:
	}
}

// giveUp ends it with its context. At a deadline the broker has the last word,
// for a moment.
func (g *gathering) giveUp() {
	if !errors.Is(g.ctx.Err(), context.DeadlineExceeded) {
		g.stop(session.ErrCancelled)
		return
	}
	patience := time.NewTimer(cancelWait)
	defer patience.Stop()
	select {
	case <-g.ended:
	case <-patience.C:
		g.stop(session.ErrDeadline)
	}
}

func (g *gathering) stop(why session.Code) {
	if g.core != nil {
		g.client.step(func(_ time.Time, fx *core.Effects) { g.client.core.StopCast(g.core, why, fx) })
	}
}

func (g *gathering) take(a *core.Answer) {
	g.mu.Lock()
	g.queue = append(g.queue, *a)
	g.count(a.Member.Fate)
	g.taken++
	g.end()
	g.mu.Unlock()
	select {
	case g.news <- struct{}{}:
	default: // the reader has been told and has not looked yet
	}
}

func (g *gathering) settle(r *core.Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Err != nil {
		g.err = fmt.Errorf("%s: %w", g.name, r.Err)
	}
	last := *r
	g.last = &last
	g.end()
}

// end ends it once its end and all answers have come: whoever has stopped it may
// bring the end before the loop brings the last answers. With mu.
func (g *gathering) end() {
	if g.last == nil || g.taken < g.last.Answers {
		return
	}
	close(g.ended)
	g.client.endSpanApart(g.span, g.last.Err)
	if g.unhook != nil {
		g.unhook()
	}
}

// next returns the next answer, or false at the end.
func (g *gathering) next() (*wire.Member, bool) {
	for {
		if a, ok := g.pop(); ok {
			g.read(&a)
			return &a.Member, true
		}
		select {
		case <-g.news:
			continue
		case <-g.ended:
		}
		a, ok := g.pop()
		return &a.Member, ok
	}
}

// claim leaves the answers to one who reads them. Whoever waits stops dropping them.
func (g *gathering) claim() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reader = true
}

func (g *gathering) claimed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reader
}

func (g *gathering) pop() (a core.Answer, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		return a, false
	}
	a = g.queue[0]
	g.queue[0] = core.Answer{}
	g.queue = g.queue[1:]
	return a, true
}

func (g *gathering) read(a *core.Answer) {
	g.client.step(func(_ time.Time, fx *core.Effects) { g.client.core.Read(g.core, a.Number, len(a.Member.Body), fx) })
}

func (g *gathering) result() (Complete, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	sum := g.sum
	if g.core != nil {
		g.client.mu.Lock()
		sum.Members, _ = g.core.Members()
		g.client.mu.Unlock()
	}
	return sum, g.err
}
