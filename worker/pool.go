package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/notrun"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// Config describes a pool whose sessions each keep a state of type S.
type Config[S any] struct {
	Pool  string // name, the same on every node that serves it
	Slots int    // sessions at once; default: the number of CPUs, or MinSlots

	// MaxSlots, above 0, has the pool grow and shrink between MinSlots (default 1)
	// and MaxSlots, beginning with Slots. It grows where every slot is held and the
	// longest open in the broker's queue has waited for GrowAfter (default 500 ms):
	// by what waits for this node, at most to twice what it had, and one step in
	// GrowAfter. It shrinks to what was needed at most, once that was less for
	// ShrinkAfter (default 1 min); a slot with a session is never taken away. See
	// Options.SharedSlots too. Threads, lanes and records are those of MaxSlots.
	MinSlots, MaxSlots     int
	GrowAfter, ShrinkAfter time.Duration

	// Policy says which of the pool's nodes gets a session: least-loaded,
	// round-robin, pack, spread, equal, lowest or highest, see package assigner;
	// default: as the broker has it. All nodes of a pool should name the same: the
	// one that registered last decides.
	Policy string
	// Value is what this node says of itself, for the policies that look at it:
	// what opens want (client.WithWant) with equal, a decimal number with lowest
	// and highest. At most 255 bytes of UTF-8. It is called several times a beat, by
	// the loop that does the work: it must return at once. What has changed is told
	// at once.
	Value func() string

	// LockThread keeps a session's goroutine on one OS thread of its own for
	// its whole life: Open, every call, Close. The thread ends with it. A call costs
	// two thread switches; one, and half the CPU, where GOMAXPROCS is at least four
	// more than all such slots of the program (MaxSlots where they grow), or 68 where
	// that is less, when Serve begins. See docs/operations.md, "Threads and lanes".
	LockThread bool
	// Lanes, above 0, has the sessions share that many OS threads: each session
	// belongs to one of them for its whole life, and Open, its calls and Close run
	// there, one thing at a time for all sessions of the thread. It is for
	// libraries that want to be called on the thread that they were set up on, and
	// do not mind what else runs on it. Slots may be many more. A handler that takes
	// long keeps the others of its lane waiting; one that hangs ends their sessions
	// with session.ErrWorkerHung. At most 1,024, and not together with LockThread.
	Lanes int
	// CheckThread asserts at every call that the thread is still the same; a
	// call for which it is not fails. For debugging.
	CheckThread bool

	// Prepare makes a state before it is known whose session will have it: what
	// takes long and is the same for all. It runs where the session's calls will
	// run, before Open. An error refuses the open, as Open's does.
	Prepare func(ctx context.Context) (S, error)
	// Warm is how many prepared states are kept ready, at most as many as there
	// are free slots, so that a session that comes finds its Prepare done. After
	// one that failed the next is tried 100 ms later, twice as long each time, up to
	// 30 s. Those for whom no session came by the end of the node, or its drain, are
	// closed (session.ErrSessionDrained). Not together with Lanes: preparing ahead
	// would hold up the sessions of a lane.
	Warm int

	// Open makes the state of a new session; nil leaves it zero, or as Prepare
	// made it (Prepared has that; where Open fails, Close ends it). Its context
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

	// Budget is how long a call may run without progress (Progress, Beat) before
	// it counts as hung: its caller then gets session.ErrWorkerHung with the stack,
	// its session ends, and its slot is quarantined until the handler returns.
	// Default 1 min; below 0 never. Methods may have their own (Pool.Budget), and
	// calls too (client.WithBudget). At least 480 ms.
	Budget time.Duration

	// MaxArgument bounds an argument that comes as chunks and is collected for its
	// handler, in bytes; a larger one ends as session.ErrTooLarge, not run. Default
	// 64 MiB. A handler that takes an io.Reader has no such bound.
	MaxArgument int
	// Stall is how long a caller may take nothing of a reply that comes as chunks
	// and waits for it, before the reply is given up (session.ErrReplyGone).
	// Default 30 s; below 0 never.
	Stall time.Duration
}

// DefaultMaxArgument is the bound of an argument that is collected.
const DefaultMaxArgument = 64 << 20

// lanesMost bounds the lanes of a pool: whoever opens a session looks at all.
const lanesMost = 1024

// DefaultBudget is the budget of a pool that names none.
const DefaultBudget = time.Minute

// Pool serves sessions with a state of type S. Handlers are added before Serve.
type Pool[S any] struct {
	config   Config[S]
	handlers map[string]handler[S]
	reads    map[string]bool // methods that take an io.Reader
	lends    map[string]bool // methods that keep nothing of their argument
	inOrder  []handler[S]    // of methods(); fixed by describe
	other    anyHandler[S]   // for every other method, or nil
	budgets  map[string]time.Duration
	asides   map[string]asideHandler // what broadcasts run beside the sessions
	wrong    error                   // the first mistake in setting it up; Serve returns it
	nobody   tenant[S]               // of every session, where the pool is bare: none has a state
}

type handler[S any] func(ctx context.Context, state S, args []byte, raw bool) (body []byte, rawReply bool, err error)

type anyHandler[S any] func(ctx context.Context, state S, method, args []byte, raw bool) (body []byte, rawReply bool, err error)

// Served is a pool as Serve takes it: only *Pool is one.
type Served interface {
	describe() (core.Pool, error)
	prepare(ctx context.Context) (state any, err error)
	discard(state any, why error)
	warm() (most, slots int)
	begin(ctx context.Context, s *Session) (served, error)
	locks() (lock, check bool)
	value() func() string // nil: it says none
	aside(ctx context.Context, method string, args []byte, raw bool) (body []byte, rawReply bool, err error)
	argument(method []byte) (reads bool, most int)
	bare() bool // it has nothing to run when a session opens or closes
}

// served is one session's state with its handlers.
type served interface {
	call(ctx context.Context, call *core.Call, args []byte, raw bool) (body []byte, rawReply bool, err error)
	close(why error)
}

// NewPool returns a pool without handlers.
func NewPool[S any](c Config[S]) *Pool[S] {
	if c.MaxSlots > 0 && c.MinSlots == 0 {
		c.MinSlots = 1
	}
	switch {
	case c.Slots == 0 && c.MaxSlots > 0:
		c.Slots = c.MinSlots
	case c.Slots == 0:
		c.Slots = runtime.NumCPU()
	}
	if c.Budget == 0 {
		c.Budget = DefaultBudget
	}
	if c.MaxArgument == 0 {
		c.MaxArgument = DefaultMaxArgument
	}
	p := &Pool[S]{
		config: c, handlers: map[string]handler[S]{}, asides: map[string]asideHandler{},
		reads: map[string]bool{}, lends: map[string]bool{}, budgets: map[string]time.Duration{},
	}
	p.nobody.pool = p
	return p
}

// Budget gives one method a budget of its own, see Config.Budget; 0 is the
// pool's, below 0 never.
func (p *Pool[S]) Budget(method string, d time.Duration) {
	if d == 0 {
		delete(p.budgets, method)
		return
	}
	p.budgets[method] = d
}

// Handle adds a method. The argument is decoded from MessagePack into A and
// the result encoded from R, with the field names of json tags; []byte is
// passed as it is, and an argument that is []byte must not be changed after
// the handler has returned; see Lent for one that is not kept. The context ends with the call's deadline, with
// its cancellation, and with its session. An error is the method's own: its
// text reaches the caller as session.ErrMethod. A panic ends the session.
//
// A is io.Reader for an argument of any size that the handler reads as it comes,
// and R io.Reader for a result that is read, to its end, as its caller takes it;
// a result that is an io.Closer too is closed. Such values are bytes. The reader
// of an argument is good until the handler returns. Other arguments that come in
// parts are collected first, up to Config.MaxArgument, and any result that is too
// large for one message leaves in parts.
func Handle[S, A, R any](p *Pool[S], method string, f func(ctx context.Context, state S, arg A) (R, error)) {
	if !takes[A](p, method) {
		return
	}
	p.handlers[method] = func(ctx context.Context, state S, args []byte, raw bool) ([]byte, bool, error) {
		arg, err := decodeArg[A](ctx, method, args, raw)
		if err != nil {
			return nil, false, err
		}
		result, err := f(ctx, state, arg)
		return resulting(ctx, method, result, err)
	}
}

// resulting is the body of what a method of typed result has returned.
//
//go:noinline
func resulting[R any](ctx context.Context, method string, result R, err error) ([]byte, bool, error) {
	if err != nil {
		return nil, false, err
	}
	switch b := any(&result).(type) { // an interface holds a pointer without an allocation
	case *[]byte:
		return append(roomOf(ctx), *b...), true, nil
	case *Lent:
		return append(roomOf(ctx), *b...), true, nil
	}
	return encoded(ctx, method, result)
}

//go:noinline
func encoded[R any](ctx context.Context, method string, result R) ([]byte, bool, error) {
	if isReader[R]() {
		r, _ := any(result).(io.Reader)
		return nil, true, copyReply(ctx, r)
	}
	body, rawReply, err := codec.Append(roomOf(ctx), result)
	if err != nil {
		return nil, false, fmt.Errorf("encode the result of %q: %w", method, err)
	}
	return body, rawReply, nil
}

// roomOf is where the reply of ctx's call may be written, and notes that it will
// be in memory of the node's own.
func roomOf(ctx context.Context) []byte {
	c, ok := ctx.(*callContext)
	if !ok || c.session == nil {
		return nil
	}
	reply := &c.session.task.ended.reply
	reply.Own = true
	return reply.Body
}

// HandleStream adds a method that writes its result, which is bytes, as its
// caller takes it: a Write blocks while he takes none, and fails once the call is
// cancelled. What is written leaves in chunks of 512 KiB; w is a Flusher for what
// shall leave before one is full. Otherwise it is as Handle.
func HandleStream[S, A any](p *Pool[S], method string, f func(ctx context.Context, state S, arg A, w io.Writer) error) {
	if !takes[A](p, method) {
		return
	}
	p.handlers[method] = func(ctx context.Context, state S, args []byte, raw bool) ([]byte, bool, error) {
		arg, err := decodeArg[A](ctx, method, args, raw)
		if err != nil {
			return nil, false, err
		}
		return nil, true, f(ctx, state, arg, callOf(ctx).writer())
	}
}

// takes reports whether a handler for method, with an argument of type A, can be
// added.
func takes[A, S any](p *Pool[S], method string) bool {
	switch _, twice := p.handlers[method]; {
	case method == "" || method == anyMethod || len(method) > wire.MaxMethod:
		p.mistake(fmt.Errorf("method name %.40q: want 1 to %d bytes, and not %q", method, wire.MaxMethod, anyMethod))
		return false
	case twice:
		p.mistake(fmt.Errorf("method %q is handled twice", method))
		return false
	}
	p.reads[method], p.lends[method] = isReader[A](), !keeps[A]()
	return true
}

// keeps reports that an argument of type A may share the memory that it came in: all
// others are decoded, which copies, or lent. So does an io.Reader, which is good until
// its handler returns, but may be in the hands of others who read on, as net/http's
// transport does: that must not bring what somebody else is called with.
func keeps[A any]() bool {
	switch t := reflect.TypeFor[A](); t {
	case reflect.TypeFor[[]byte](), reflect.TypeFor[Body]():
		return true
	default:
		return t.Kind() == reflect.Interface
	}
}

// decodeArg reads an argument. That of bytes is told apart as in resulting.
func decodeArg[A any](ctx context.Context, method string, args []byte, raw bool) (arg A, err error) {
	if raw {
		switch to := any(&arg).(type) {
		case *[]byte:
			*to = args
			return arg, nil
		case *Lent:
			*to = args
			return arg, nil
		}
	}
	return decodeOther[A](ctx, method, args, raw)
}

//go:noinline
func decodeOther[A any](ctx context.Context, method string, args []byte, raw bool) (arg A, err error) {
	if isReader[A]() {
		var r io.Reader
		if r, err = callOf(ctx).reader(args, raw); err == nil {
			return r.(A), nil
		}
	} else {
		err = codec.Decode(args, raw, &arg)
	}
	if err != nil {
		err = notrun.Errorf(session.ErrBadArgument, "method %q takes %s: %s", method, reflect.TypeFor[A](), err)
	}
	return arg, err
}

// Body is an argument or a result as it travels: bytes, where Raw is set, or
// one MessagePack value.
type Body = codec.Body

// Lent is an argument of bytes that a handler has until it returns, as a Write has
// its p: it keeps no part of it, also not on a goroutine that it leaves behind, for
// the memory is used again. What it needs longer it copies. A result may share it. A
// []byte is the handler's to keep, which costs an allocation of that size for every
// call; with Lent, and client.Session.AppendCall on the other side, calls of up to 4 KiB
// have none.
type Lent = codec.Lent

// anyMethod is how a pool with a handler for any method names it to brokers.
const anyMethod = "*"

// HandleAny adds what serves every method that has no handler of its own. The
// argument must not be changed after f has returned; the result must be one
// whole MessagePack value, or raw. Context and errors are those of Handle.
func HandleAny[S any](p *Pool[S], f func(ctx context.Context, state S, method string, arg Body) (Body, error)) {
	if p.other != nil {
		p.mistake(errors.New("there are two handlers for any method"))
		return
	}
	p.other = func(ctx context.Context, state S, method, args []byte, raw bool) ([]byte, bool, error) {
		result, err := f(ctx, state, string(method), Body{Bytes: args, Raw: raw})
		return result.Bytes, result.Raw, err
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
	case !c.ordered():
		return core.Pool{}, fmt.Errorf("pool %q: MinSlots %d, Slots %d, MaxSlots %d: want them in this order", c.Pool, c.MinSlots, c.Slots, c.MaxSlots)
	case c.GrowAfter < 0 || c.ShrinkAfter < 0:
		return core.Pool{}, fmt.Errorf("pool %q: GrowAfter %s, ShrinkAfter %s", c.Pool, c.GrowAfter, c.ShrinkAfter)
	case c.Lanes < 0 || c.Lanes > lanesMost:
		return core.Pool{}, fmt.Errorf("pool %q: %d lanes, at most %d", c.Pool, c.Lanes, lanesMost)
	case c.Lanes > 0 && c.LockThread:
		return core.Pool{}, fmt.Errorf("pool %q: a session has a thread of its own (LockThread), or shares one (Lanes), not both", c.Pool)
	case c.Warm < 0 || c.Warm > 0 && c.Prepare == nil:
		return core.Pool{}, fmt.Errorf("pool %q: %d warm workers, and Prepare to make them: %t", c.Pool, c.Warm, c.Prepare != nil)
	case c.Warm > 0 && c.Lanes > 0:
		return core.Pool{}, fmt.Errorf("pool %q: warm workers on lanes would hold up their sessions", c.Pool)
	case len(p.handlers) == 0 && len(p.asides) == 0 && p.other == nil:
		return core.Pool{}, fmt.Errorf("pool %q has no methods: add them with worker.Handle", c.Pool)
	}
	if c.Policy != "" {
		if _, err := assigner.ParsePolicy(c.Policy); err != nil {
			return core.Pool{}, fmt.Errorf("pool %q: %w", c.Pool, err)
		}
	}
	for _, method := range slices.Sorted(maps.Keys(p.budgets)) {
		if p.handlers[method] == nil && p.asides[method] == nil && p.other == nil {
			return core.Pool{}, fmt.Errorf("pool %q: a budget for %q, which it does not handle", c.Pool, method)
		}
	}
	names := p.methods()
	if len(p.inOrder) != len(names) { // it is served for the first time; methods are added, and never taken away
		p.inOrder = p.handlersOf(names)
	}
	return core.Pool{
		Name: c.Pool, Slots: c.Slots, Methods: names, Locked: c.LockThread, Lanes: min(c.Lanes, max(c.Slots, c.MaxSlots)), Bare: p.bare(),
		Policy: c.Policy, Valued: c.Value != nil, Least: c.MinSlots, Most: c.MaxSlots, GrowAfter: c.GrowAfter, ShrinkAfter: c.ShrinkAfter,
		Limits: session.Limits{Lease: c.Lease, Idle: c.Idle, MaxAge: c.MaxAge, Window: c.Window},
		Budget: c.Budget, Budgets: p.budgets, Lends: p.lends, Stall: c.Stall,
	}, nil
}

// ordered reports that the bounds of a pool that grows are in their order, and
// that one that does not has none.
func (c *Config[S]) ordered() bool {
	if c.MaxSlots == 0 {
		return c.MinSlots == 0
	}
	return 0 < c.MinSlots && c.MinSlots <= c.Slots && c.Slots <= c.MaxSlots && c.MaxSlots <= wire.MaxSlots
}

// methods are the names of the handlers, as brokers are told them.
func (p *Pool[S]) methods() []string {
	names := slices.Collect(maps.Keys(p.handlers))
	if p.other != nil {
		names = append(names, anyMethod)
	}
	slices.Sort(names)
	return names
}

// handlersOf are the handlers of these methods; anyMethod has none.
func (p *Pool[S]) handlersOf(names []string) []handler[S] {
	all := make([]handler[S], len(names))
	for i, name := range names {
		all[i] = p.handlers[name]
	}
	return all
}

func (p *Pool[S]) locks() (lock, check bool) { return p.config.LockThread, p.config.CheckThread }

func (p *Pool[S]) bare() bool {
	return p.config.Prepare == nil && p.config.Open == nil && p.config.Close == nil
}

func (p *Pool[S]) value() func() string { return p.config.Value }

// argument reports whether a method reads its argument as it comes, and how
// large one may be that is collected for it.
func (p *Pool[S]) argument(method []byte) (reads bool, most int) {
	return p.reads[string(method)], p.config.MaxArgument
}

func (p *Pool[S]) warm() (most, slots int) {
	return min(p.config.Warm, max(p.config.Slots, p.config.MaxSlots)), p.config.Slots
}

func (p *Pool[S]) prepare(ctx context.Context) (state any, err error) {
	made, err := p.config.Prepare(ctx)
	return &made, err
}

func (p *Pool[S]) discard(state any, why error) {
	if p.config.Close != nil {
		p.config.Close(*state.(*S), why)
	}
}

func (p *Pool[S]) begin(ctx context.Context, s *Session) (served, error) {
	if p.bare() {
		return &p.nobody, nil
	}
	t := &tenant[S]{pool: p}
	if p.config.Prepare != nil {
		if err := p.ready(ctx, s); err != nil {
			return nil, err
		}
		t.state = *s.prepared.(*S)
	}
	if p.config.Open == nil {
		return t, nil
	}
	err := errExit
	defer func() {
		if err != nil && s.prepared != nil { // also where Open panicked
			p.discard(s.prepared, err)
		}
	}()
	t.state, err = p.config.Open(ctx, s)
	return t, err
}

// ready has the session's state prepared, where that has not been done ahead.
func (p *Pool[S]) ready(ctx context.Context, s *Session) error {
	if s.prepared != nil {
		return nil
	}
	state, err := p.prepare(ctx)
	if err == nil {
		s.prepared = state
	}
	return err
}

// tenant is one session's state.
type tenant[S any] struct {
	pool  *Pool[S]
	state S
}

// call runs the handler of a call, whose argument may have been collected meanwhile.
func (t *tenant[S]) call(ctx context.Context, call *core.Call, args []byte, raw bool) ([]byte, bool, error) {
	if at := call.At(); at >= 0 && t.pool.inOrder[at] != nil {
		return t.pool.inOrder[at](ctx, t.state, args, raw)
	}
	if t.pool.other != nil {
		return t.pool.other(ctx, t.state, call.Method(), args, raw)
	}
	return nil, false, t.pool.unknown(call.Method())
}

//go:noinline
func (p *Pool[S]) unknown(method []byte) error {
	return notrun.Errorf(session.ErrMethodUnknown, "pool %q has no method %q", p.config.Pool, method)
}

func (t *tenant[S]) close(why error) {
	if t.pool.config.Close != nil {
		t.pool.config.Close(t.state, why)
	}
}

// errNoPools is Serve without anything to serve.
var errNoPools = errors.New("serve: no pools given")
