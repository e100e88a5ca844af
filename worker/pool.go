package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// Config describes a pool whose sessions each keep a state of type S.
type Config[S any] struct {
	Pool  string // name, the same on every node that serves it
	Slots int    // sessions at once; default: the number of CPUs

	// LockThread keeps a session's goroutine on one OS thread of its own for
	// its whole life: Open, every call, Close. The thread ends with it.
	LockThread bool
	// CheckThread asserts at every call that the thread is still the same; a
	// call for which it is not fails. For debugging.
	CheckThread bool

	// Open makes the state of a new session; nil leaves it zero. Its context
	// ends when nobody wants the session any more. An error refuses the open,
	// and its client gets the text.
	Open func(ctx context.Context, s *Session) (S, error)
	// Close ends the state; why is a *session.Error whose code says what ended
	// the session. It may be nil. It also runs after a handler has panicked.
	Close func(state S, why error)

	// The three clocks; see session.Limits. A client may lower them per open.
	Lease  time.Duration // default 10 s
	Idle   time.Duration // default none
	MaxAge time.Duration // default none
	Window int           // calls in flight per session, default 64
}

// Pool serves sessions with a state of type S. Handlers are added before Serve.
type Pool[S any] struct {
	config   Config[S]
	handlers map[string]handler[S]
	wrong    error // the first mistake in setting it up; Serve returns it
}

type handler[S any] func(ctx context.Context, state S, args []byte, raw bool) (body []byte, rawReply bool, err error)

// Served is a pool as Serve takes it: only *Pool is one.
type Served interface {
	describe() (core.Pool, error)
	begin(ctx context.Context, s *Session) (served, error)
	locks() (lock, check bool)
	bare() bool // it has neither Open nor Close to run
}

// served is one session's state with its handlers.
type served interface {
	call(ctx context.Context, method, args []byte, raw bool) (body []byte, rawReply bool, err error)
	close(why error)
}

// NewPool returns a pool without handlers.
func NewPool[S any](c Config[S]) *Pool[S] {
	if c.Slots == 0 {
		c.Slots = runtime.NumCPU()
	}
	return &Pool[S]{config: c, handlers: map[string]handler[S]{}}
}

// Handle adds a method. The argument is decoded from MessagePack into A and
// the result encoded from R, with the field names of json tags; []byte is
// passed as it is, and an argument that is []byte must not be changed after
// the handler has returned. The context ends with the call's deadline, with
// its cancellation, and with its session. An error is the method's own: its
// text reaches the caller as session.ErrMethod. A panic ends the session.
func Handle[S, A, R any](p *Pool[S], method string, f func(ctx context.Context, state S, arg A) (R, error)) {
	switch _, twice := p.handlers[method]; {
	case method == "" || len(method) > wire.MaxMethod:
		p.mistake(fmt.Errorf("method name %.40q: want 1 to %d bytes", method, wire.MaxMethod))
		return
	case twice:
		p.mistake(fmt.Errorf("method %q is handled twice", method))
		return
	}
	p.handlers[method] = func(ctx context.Context, state S, args []byte, raw bool) ([]byte, bool, error) {
		var arg A
		if err := codec.Decode(args, raw, &arg); err != nil {
			return nil, false, &session.Error{
				Code: session.ErrBadArgument, Outcome: session.NotRun, Text: fmt.Sprintf("method %q takes %T: %s", method, arg, err),
			}
		}
		result, err := f(ctx, state, arg)
		if err != nil {
			return nil, false, err
		}
		body, rawReply, err := codec.Append(nil, result)
		if err != nil {
			return nil, false, fmt.Errorf("encode the result of %q: %w", method, err)
		}
		return body, rawReply, nil
	}
}

func (p *Pool[S]) mistake(err error) {
	if p.wrong == nil {
		p.wrong = fmt.Errorf("pool %q: %w", p.config.Pool, err)
	}
}

func (p *Pool[S]) describe() (core.Pool, error) {
	c := p.config
	switch {
	case p.wrong != nil:
		return core.Pool{}, p.wrong
	case c.Pool == "" || len(c.Pool) > wire.MaxName:
		return core.Pool{}, fmt.Errorf("pool name %.40q: want 1 to %d bytes", c.Pool, wire.MaxName)
	case c.Slots < 0 || c.Slots > 1<<24:
		return core.Pool{}, fmt.Errorf("pool %q: %d slots", c.Pool, c.Slots)
	case len(p.handlers) == 0:
		return core.Pool{}, fmt.Errorf("pool %q has no methods: add them with worker.Handle", c.Pool)
	}
	return core.Pool{
		Name: c.Pool, Slots: c.Slots, Methods: slices.Sorted(maps.Keys(p.handlers)), Locked: c.LockThread, Bare: p.bare(),
		Limits: session.Limits{Lease: c.Lease, Idle: c.Idle, MaxAge: c.MaxAge, Window: c.Window},
	}, nil
}

func (p *Pool[S]) locks() (lock, check bool) { return p.config.LockThread, p.config.CheckThread }

func (p *Pool[S]) bare() bool { return p.config.Open == nil && p.config.Close == nil }

func (p *Pool[S]) begin(ctx context.Context, s *Session) (served, error) {
	t := &tenant[S]{pool: p}
	if p.config.Open == nil {
		return t, nil
	}
	var err error
	t.state, err = p.config.Open(ctx, s)
	return t, err
}

// tenant is one session's state.
type tenant[S any] struct {
	pool  *Pool[S]
	state S
}

func (t *tenant[S]) call(ctx context.Context, method, args []byte, raw bool) ([]byte, bool, error) {
	h := t.pool.handlers[string(method)]
	if h == nil {
		return nil, false, &session.Error{
			Code: session.ErrMethodUnknown, Outcome: session.NotRun,
			Text: fmt.Sprintf("pool %q has no method %q", t.pool.config.Pool, method),
		}
	}
	return h(ctx, t.state, args, raw)
}

func (t *tenant[S]) close(why error) {
	if t.pool.config.Close != nil {
		t.pool.config.Close(t.state, why)
	}
}

// errNoPools is Serve without anything to serve.
var errNoPools = errors.New("serve: no pools given")
