package zmqio

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// Errors of Send. With any of them nothing of the envelope will be sent.
var (
	ErrPeerGone = errors.New("zmqio: peer is gone")
	ErrFull     = errors.New("zmqio: peer does not take what is sent to it")
	ErrClosed   = errors.New("zmqio: loop is closed")
	ErrSize     = fmt.Errorf("zmqio: envelope is empty or larger than %d bytes", wire.MaxEnvelope)
)

// ErrInUse is Listen where somebody else listens there.
var ErrInUse = errors.New("the port is in use by another socket")

// Handler is what a Loop works for. All its methods are called on the loop's
// goroutine only, one at a time; while one runs, nothing is received and, but
// for full frames, nothing is sent.
type Handler interface {
	// Envelope brings one envelope. It is the handler's to keep; its memory is
	// shared with the rest of its frame.
	Envelope(from wire.Peer, env []byte)
	// Malformed brings what was wrong with a message, once a message. Envelopes
	// that precede the fault in the same frame have been delivered. from is
	// zero where there is nobody to answer.
	Malformed(from wire.Peer, err error)
	// Gone says that a peer behind a listening socket proved unreachable or was
	// forgotten. Its number is never used again; if it speaks once more it does
	// so under a new one.
	Gone(peer wire.Peer)
	// Tick is called at least every Options.Tick, as long as the handler itself
	// does not take longer.
	Tick(now time.Time)
}

// Batcher is a Handler that wants to know where a batch of messages begins and
// ends: between the two only Envelope, Malformed, Blocks' Block, Greeter's Fresh
// and Renewer's Renewed are called.
type Batcher interface {
	Begin()
	End()
}

// Greeter is a Handler that wants to know of connections as they come up, and
// not only once they say something. Whoever else is
// told nothing of them.
type Greeter interface {
	Fresh(peer wire.Peer)
}

// Renewer is a Handler that wants to know when a connection of its own, one that
// Connect made, stands again after it broke: whoever is behind it now has not
// heard of this side.
type Renewer interface {
	Renewed(peer wire.Peer)
}

// Gatherer is a Handler for whom other goroutines leave work, which the loop does
// together with its own where it is awake. Who leaves some looks at Awake
// afterwards, and does it himself where the loop is not.
type Gatherer interface {
	// Gather does what has been left. The loop calls it once a round, before it
	// sends.
	Gather()
	// Left reports that something has been left: the loop does not sleep then. It
	// does not wait.
	Left() bool
}

// Blocks is a Handler that takes large frames as the memory that they were
// received into. Whoever does not gets every envelope by Envelope.
type Blocks interface {
	// Block brings the one envelope, of any kind, of a frame of at least BlockMin
	// bytes; env is b.Bytes(). The handler releases b, now or later, once. Before
	// it sends b on it may write to it. A large frame with several envelopes, and
	// one that finds no room beside the blocks that are held, comes by Envelope.
	Block(from wire.Peer, env []byte, b *Block)
}

// Loop owns sockets. Create it with NewLoop, give it to one goroutine with Run.
type Loop struct {
	// Fixed after NewLoop.
	handler Handler
	blocks  Blocks   // the handler, or nil
	gathers Gatherer // likewise
	options Options
	context *zmq.Context
	waker   *waker
	done    chan struct{}

	// Shared, each atomic or with a lock of its own.
	awake     atomic.Bool  // the loop will flush, and look for work, before it sleeps
	stopping  atomic.Bool  // Run shall end
	ended     atomic.Bool  // Run does not turn any more
	closing   atomic.Bool  // nothing more is accepted
	now       atomic.Int64 // of the current round, Unix nanoseconds
	base      time.Time    // fixed after NewLoop
	elapsed   atomic.Int64 // the same, monotonic: nanoseconds since base
	directory directory
	inbox     inbox
	count     counters

	// Guarded by mu; sockets is replaced, never changed, so reading needs no lock.
	mu      sync.Mutex
	sockets atomic.Pointer[[]*socket]
	started bool
	failure error

	// Owned by the loop goroutine.
	polled []unix.PollFd
	heard  bool // the sockets' ready is of a poll(2) that this round follows
	batch  []arrival
	arena  arena // of what is received, whatever socket it comes from
	tickAt time.Time
	idleAt time.Time
}

// NewLoop makes a loop without sockets. It holds descriptors and a libzmq
// context until Run has returned; a loop that is not needed after all is given
// back by running it with a context that has already ended.
func NewLoop(h Handler, o Options) (*Loop, error) {
	if _, err := CheckLibrary(); err != nil {
		return nil, err
	}
	w, err := newWaker()
	if err != nil {
		return nil, err
	}
	zc, err := zmq.NewContext()
	if err != nil {
		w.close()
		return nil, fmt.Errorf("zmqio: new context: %w", err)
	}
	l := &Loop{handler: h, options: o.withDefaults(), context: zc, waker: w, done: make(chan struct{})}
	l.blocks, _ = h.(Blocks)
	l.gathers, _ = h.(Gatherer)
	l.sockets.Store(&[]*socket{})
	l.base = time.Now()
	l.now.Store(l.base.UnixNano())
	return l, nil
}

// Listen binds a ROUTER to endpoint and returns the endpoint with the port that
// was really taken; port 0 or * lets the system choose. It may be called before
// and during Run, from any goroutine, also from a handler, and does not block.
// The new socket is made by the caller and handed to the loop under mu.
func (l *Loop) Listen(endpoint string) (actual string, err error) {
	s, err := l.open(zmq.ROUTER, endpoint, func(s *socket) error {
		if err := s.transfer.zs.Bind(bindable(endpoint)); err != nil {
			return err
		}
		actual, err = s.transfer.zs.GetLastEndpoint()
		s.endpoint = actual
		return err
	})
	switch {
	case errors.Is(err, zmq.EADDRINUSE):
		return "", fmt.Errorf("zmqio: listen on %s: %w: %w", endpoint, ErrInUse, err)
	case err != nil:
		return "", fmt.Errorf("zmqio: listen on %s: %w", endpoint, err)
	}
	return s.endpoint, nil
}

// Connect makes a DEALER that connects to endpoint, in the background and again
// whenever the connection is lost, and returns the peer to send to. What is
// sent before the connection stands waits for it. Like Listen it may be called
// at any time from any goroutine and does not block.
func (l *Loop) Connect(endpoint string) (wire.Peer, error) {
	s, err := l.open(zmq.DEALER, endpoint, func(s *socket) error {
		s.lead = &peer{socket: s}
		if err := s.transfer.zs.Connect(endpoint); err != nil {
			return err
		}
		return l.directory.enter(s.lead)
	})
	if err != nil {
		return 0, fmt.Errorf("zmqio: connect to %s: %w", endpoint, err)
	}
	return s.lead.id, nil
}

// open makes a socket, has it attached, and gives it to the loop.
func (l *Loop) open(kind zmq.Type, endpoint string, attach func(*socket) error) (*socket, error) {
	if err := checkEndpoint(endpoint, kind == zmq.ROUTER); err != nil {
		return nil, EndpointError{err}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Load() {
		return nil, ErrClosed
	}
	s, err := newSocket(l, kind, endpoint)
	if err != nil {
		return nil, err
	}
	if err := attach(s); err != nil {
		return nil, errors.Join(err, s.close(0))
	}
	longer := append(slices.Clone(*l.sockets.Load()), s)
	l.sockets.Store(&longer)
	l.waker.wake()
	return s, nil
}

// Disconnect closes the DEALER that leads to peer. What was sent before goes
// out if its connection stands, for at most Options.Linger, in the background.
// Peers of a listening socket, and unknown ones, are left alone.
func (l *Loop) Disconnect(to wire.Peer) {
	p := l.directory.find(to)
	if p == nil || p.socket.lead != p {
		return
	}
	l.mu.Lock()
	shorter := slices.DeleteFunc(slices.Clone(*l.sockets.Load()), func(s *socket) bool { return s == p.socket })
	l.sockets.Store(&shorter)
	l.mu.Unlock()
	l.directory.remove(p)
	_ = p.socket.close(l.options.Linger)
	l.count.dropped.Add(uint64(p.bury(nil)))
}

// Send queues a copy of env for the peer and sees to it that somebody sends it:
// the loop while it is awake, otherwise the calling goroutine. Any goroutine may
// call it, also a handler. It never blocks on a peer. What one goroutine sends
// to one peer arrives in order.
//
// Errors: ErrPeerGone, ErrFull (Options.PeerBuffer bytes wait for this peer),
// ErrClosed, ErrSize. Without an error the envelope is queued, not delivered.
func (l *Loop) Send(to wire.Peer, env []byte) error { return l.send(to, env, true) }

// SendPinned is Send for callers that are locked to an OS thread: it never
// yields the processor to gather company, which would cost them two thread
// switches.
func (l *Loop) SendPinned(to wire.Peer, env []byte) error { return l.send(to, env, false) }

func (l *Loop) send(to wire.Peer, env []byte, yield bool) error {
	if l.closing.Load() {
		return ErrClosed
	}
	if len(env) == 0 || len(env) > wire.MaxEnvelope {
		return ErrSize
	}
	p := l.directory.find(to)
	if p == nil {
		return ErrPeerGone
	}
	first, waiting, err := p.enqueue(env, l.options.PeerBuffer)
	if err != nil {
		l.count.dropped.Add(1)
		return err
	}
	l.queued(p, first, waiting, yield)
	return nil
}

// queued sees to it that somebody sends what has been added to p's outbox. first
// says that nobody does yet.
func (l *Loop) queued(p *peer, first bool, waiting int, yield bool) {
	if first {
		p.socket.markDirty(p)
	}
	full := waiting >= frameFull
	if full || first && !l.awake.Load() {
		if yield && !full {
			runtime.Gosched()
		}
		p.socket.flushAsSender(full)
	}
}

// Do has f run on the loop's goroutine soon. How many functions wait is the
// caller's to bound. After Run has ended, see Done, f is dropped.
func (l *Loop) Do(f func()) {
	l.inbox.addCall(f)
	l.wakeIfParked()
}

// Done is closed when Run has ended.
func (l *Loop) Done() <-chan struct{} { return l.done }

// Run makes the calling goroutine the owner of the sockets until ctx ends, then
// sends what is queued, for at most Options.Linger, closes the sockets and
// gives back what the loop held. It returns nil after ctx has ended, an error
// where libzmq failed. It may be called once.
func (l *Loop) Run(ctx context.Context) error {
	l.mu.Lock()
	again := l.started
	l.started = true
	l.mu.Unlock()
	if again {
		return errors.New("zmqio: Run was called twice")
	}
	defer close(l.done)

	told := make(chan struct{})
	untell := context.AfterFunc(ctx, func() {
		defer close(told)
		l.stopping.Store(true)
		l.wakeIfParked()
	})
	l.awake.Store(true)
	l.tickAt = time.Now()
	if ctx.Err() != nil { // it has been over before it began: the handler hears nothing
		l.stopping.Store(true)
	}
	for !l.stopping.Load() {
		l.turn()
	}
	if !untell() {
		<-told
	}
	l.ended.Store(true)
	l.gather() // what was left before that could be seen
	return l.shutdown()
}

// Time is when the loop's current round began, or its last one if it sleeps: at
// most Options.Tick ago as long as the loop turns. It costs no look at the
// clock. Any goroutine may call it.
func (l *Loop) Time() time.Time { return l.base.Add(time.Duration(l.elapsed.Load())) }

// Awake reports whether the loop will look at what others have left for it, see
// Gatherer, before it sleeps. Any goroutine may call it.
func (l *Loop) Awake() bool { return l.awake.Load() && !l.ended.Load() }

// turn is one round: receive a batch from every socket, work, flush, and sleep
// if that was all.
func (l *Loop) turn() {
	now := time.Now()
	l.now.Store(now.UnixNano())
	l.elapsed.Store(int64(now.Sub(l.base)))
	busy := l.receive()
	l.work()
	// Whoever the batch has woken gets the chance to join the flush.
	if !l.options.Alone {
		runtime.Gosched()
	}
	l.gather()
	for _, s := range *l.sockets.Load() {
		s.flushAsOwner()
	}
	if !busy {
		l.fail(l.park(l.tickAt))
	}
}

func (l *Loop) gather() {
	if l.gathers != nil {
		l.gathers.Gather()
	}
}

// receive handles one batch of every socket and reports whether one of them has
// more. Where none has, the look before parking finds what has come meanwhile.
func (l *Loop) receive() (busy bool) {
	for _, s := range *l.sockets.Load() {
		batch, drained, err := s.receive(l.batch[:0], l.heard && !s.ready)
		l.fail(err)
		l.deliverAll(batch)
		busy = busy || !drained
		clear(batch)
		l.batch = batch[:0]
	}
	l.heard = false
	if l.options.Fleeting && !busy { // no socket has parts that it has not handed out
		l.arena.reuse()
	}
	return busy
}

func (l *Loop) deliverAll(batch []arrival) {
	if len(batch) == 0 {
		return
	}
	if b, ok := l.handler.(Batcher); ok {
		b.Begin()
		defer b.End()
	}
	for i := range batch {
		l.deliver(batch[i])
	}
}

func (l *Loop) deliver(a arrival) {
	fault := a.fault
	if a.again {
		if r, ok := l.handler.(Renewer); ok {
			r.Renewed(a.from)
		}
		return
	}
	if a.fresh {
		if g, ok := l.handler.(Greeter); ok {
			g.Fresh(a.from)
		}
		return
	}
	switch {
	case fault != nil:
	case a.block != nil:
		fault = l.deliverBlock(a)
	default:
		fault = l.unpack(a)
	}
	if fault != nil {
		l.count.malformed.Add(1)
		l.handler.Malformed(a.from, fault)
	}
}

func (l *Loop) unpack(a arrival) error {
	l.countFrame(a.body)
	envelopes, err := wire.Split(a.body)
	if err != nil {
		return err
	}
	n := uint64(0)
	for env, ok := envelopes.Next(); ok; env, ok = envelopes.Next() {
		n++
		l.handler.Envelope(a.from, env)
	}
	l.count.envelopesIn.Add(n)
	return envelopes.Err()
}

func (l *Loop) countFrame(body []byte) {
	l.count.framesIn.Add(1)
	l.count.bytesIn.Add(uint64(len(body)))
}

// work runs what others have asked for and what the clock asks for.
func (l *Loop) work() {
	calls, gone := l.inbox.take()
	for _, p := range gone {
		l.handler.Gone(p)
	}
	for _, f := range calls {
		f()
	}
	now := l.Time()
	if now.Before(l.tickAt) {
		return
	}
	l.tickAt = now.Add(l.options.Tick)
	for _, s := range *l.sockets.Load() {
		s.retryAllStalled()
		s.outlet.look = true // a loop that never sleeps would not look
		for _, a := range s.inspect(now) {
			l.count.cut.Add(1)
			l.deliver(a)
		}
	}
	l.forgetIdle(now)
	l.handler.Tick(now)
}

func (l *Loop) forgetIdle(now time.Time) {
	if now.Before(l.idleAt) {
		return
	}
	l.idleAt = now.Add(min(time.Second, l.options.PeerIdle/4))
	for _, s := range *l.sockets.Load() {
		s.forgetIdle(now.Add(-l.options.PeerIdle).UnixNano())
	}
}

// fail ends Run with the first error that is not nil.
func (l *Loop) fail(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	if l.failure == nil {
		l.failure = err
	}
	l.mu.Unlock()
	l.stopping.Store(true)
	l.wakeIfParked()
}

// shutdown sends what is queued and closes everything, all within the linger.
func (l *Loop) shutdown() error {
	deadline := time.Now().Add(l.options.Linger)
	l.work()
	l.mu.Lock()
	l.closing.Store(true)
	sockets := *l.sockets.Load()
	l.sockets.Store(&[]*socket{})
	l.mu.Unlock()

	for unsent(sockets) && time.Now().Before(deadline) {
		if err := l.sleep(sockets, time.Now().Add(time.Millisecond)); err != nil {
			break
		}
	}
	var errs []error
	for _, s := range sockets {
		errs = append(errs, s.close(max(0, time.Until(deadline))))
	}
	errs = append(errs, l.context.Term())
	l.waker.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(append(errs, l.failure)...)
}

// unsent flushes once more and tells whether something is left to flush.
func unsent(sockets []*socket) (left bool) {
	for _, s := range sockets {
		s.flushAsOwner()
		left = s.retryAllStalled() > 0 || s.dirty.Load() != nil || left
	}
	return left
}
