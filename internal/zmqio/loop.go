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

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
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
	// Envelope brings one envelope. Its memory is used again after the End of the
	// portion (see Batcher), or once Envelope has returned: what is kept is copied.
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
// afterwards, and where the loop is not does it himself, or has it woken (Rouse).
type Gatherer interface {
	// Gather does what has been left. The loop calls it once a round, before it
	// sends.
	Gather()
	// Left reports that something has been left: the loop does not sleep then. It
	// does not wait.
	Left() bool
}

// Foreseer is a Handler that likes to know what it is about to get, and has its
// memory of that brought near.
type Foreseer interface {
	// Foresee shows the next n envelopes of a portion, or as many as there are, within
	// the portion's Begin and End.
	Foresee(next wire.Envelopes, n int)
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
	sees    Foreseer // likewise
	options Options
	waker   *waker
	poller  *poller
	done    chan struct{}
	living  context.Context // ends with Run
	end     context.CancelFunc

	// Shared, each atomic or with a lock of its own.
	awake     atomic.Bool  // the loop will flush, and look for work, before it sleeps
	stopping  atomic.Bool  // Run shall end
	ended     atomic.Bool  // Run does not turn any more
	closing   atomic.Bool  // nothing more is accepted
	now       atomic.Int64 // of the current round, Unix nanoseconds
	base      time.Time    // fixed after NewLoop
	elapsed   atomic.Int64 // the same, monotonic: nanoseconds since base
	company   atomic.Int64 // elapsed when something came that is neither freight nor credit for it
	manners   manners
	directory directory
	inbox     inbox
	count     counters
	resolving sync.WaitGroup // of names; waited for by Run

	// Guarded by mu; sockets is replaced, never changed, so reading needs no lock.
	mu      sync.Mutex
	sockets atomic.Pointer[[]*socket]
	started bool
	failure error

	// Owned by the loop goroutine.
	signs     []sign // what the poller has seen and nobody has looked at
	share     int    // bytes that this round reads from one connection
	batch     []arrival
	delivered int       // of batch: so many of it are done with
	brought   int       // envelopes of batch, or of the last one, that have been handed over
	arena     arena     // of what is received, whatever connection it comes from
	dialers   []*socket // that wait to connect
	due       []*socket // memory of dialDue
	dialAt    time.Time // when the next of dialers is due, zero where there is none
	tickAt    time.Time
	inspectAt time.Time
	idleAt    time.Time
}

// NewLoop makes a loop without sockets. It holds descriptors until Run has
// returned; a loop that is not needed after all is given back by running it with a
// context that has already ended.
func NewLoop(h Handler, o Options) (*Loop, error) {
	w, err := newWaker()
	if err != nil {
		return nil, err
	}
	p, err := newPoller(w)
	if err != nil {
		w.close()
		return nil, fmt.Errorf("zmqio: open poller: %w", err)
	}
	l := &Loop{handler: h, options: o.withDefaults(), waker: w, poller: p, done: make(chan struct{}), share: batchBytes}
	l.living, l.end = context.WithCancel(context.Background())
	l.blocks, _ = h.(Blocks)
	l.gathers, _ = h.(Gatherer)
	l.sees, _ = h.(Foreseer)
	l.sockets.Store(&[]*socket{})
	l.base = time.Now()
	l.now.Store(l.base.UnixNano())
	return l, nil
}

// Listen binds a ROUTER to endpoint and returns the endpoint with the port that
// was really taken; port 0 or * lets the system choose. It may be called before
// and during Run, from any goroutine, also from a handler, and does not block,
// unless endpoint names a host whose address the system has to find out.
func (l *Loop) Listen(endpoint string) (actual string, err error) {
	s, err := l.listen(endpoint)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return "", fmt.Errorf("zmqio: listen on %s: %w: %w", endpoint, ErrInUse, err)
	case err != nil:
		return "", fmt.Errorf("zmqio: listen on %s: %w", endpoint, err)
	}
	return s.endpoint, nil
}

func (l *Loop) listen(endpoint string) (*socket, error) {
	if err := checkEndpoint(endpoint, true); err != nil {
		return nil, EndpointError{err}
	}
	ctx, cancel := context.WithTimeout(l.living, resolveWithin)
	defer cancel()
	a, err := resolve(ctx, endpoint, true)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Load() {
		return nil, ErrClosed
	}
	fd, actual, err := bind(a, endpoint)
	if err != nil {
		return nil, err
	}
	s := newSocket(l, zmtp.Router, actual)
	s.ear = watch{fd: fd, socket: s}
	if err := l.poller.add(&s.ear, false); err != nil {
		s.close()
		return nil, err
	}
	l.attach(s)
	return s, nil
}

// Connect makes a DEALER that connects to endpoint, in the background and again
// whenever the connection is lost, and returns the peer to send to. What is
// sent before the connection stands waits for it. Like Listen it may be called
// at any time from any goroutine; it does not block.
func (l *Loop) Connect(endpoint string) (wire.Peer, error) {
	s, err := l.connect(endpoint)
	if err != nil {
		return 0, fmt.Errorf("zmqio: connect to %s: %w", endpoint, err)
	}
	return s.lead.id, nil
}

func (l *Loop) connect(endpoint string) (*socket, error) {
	if err := checkEndpoint(endpoint, false); err != nil {
		return nil, EndpointError{err}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Load() {
		return nil, ErrClosed
	}
	s := newSocket(l, zmtp.Dealer, endpoint)
	s.lead = &peer{socket: s}
	if err := l.directory.enter(s.lead); err != nil {
		return nil, err
	}
	l.attach(s)
	l.Do(s.dial)
	return s, nil
}

// attach gives the loop a socket. The caller holds mu.
func (l *Loop) attach(s *socket) {
	longer := append(slices.Clone(*l.sockets.Load()), s)
	l.sockets.Store(&longer)
}

// detach takes it away again.
func (l *Loop) detach(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	shorter := slices.DeleteFunc(slices.Clone(*l.sockets.Load()), func(other *socket) bool { return other == s })
	l.sockets.Store(&shorter)
}

// Disconnect closes the DEALER that leads to peer. What was sent before goes
// out if its connection stands, for at most Options.Linger, in the background.
// Peers of a listening socket, and unknown ones, are left alone.
func (l *Loop) Disconnect(to wire.Peer) {
	p := l.directory.find(to)
	if p == nil || p.socket.lead != p {
		return
	}
	l.directory.remove(p)
	p.socket.leave(time.Now().Add(l.options.Linger))
	l.inbox.addCall(l.part)
	l.wakeIfParked()
}

// part closes the sockets that have left.
func (l *Loop) part() {
	for _, s := range *l.sockets.Load() {
		if s.left(l.Time()) {
			s.close()
			l.detach(s)
		}
	}
}

// Send queues a copy of env for the peer and sees to it that somebody sends it:
// the loop while it is awake, otherwise the calling goroutine. Any goroutine may
// call it, also a handler. It never blocks on a peer. What one goroutine sends
// to one peer arrives in order, freight (see wire.Freight) apart from all else.
//
// Errors: ErrPeerGone, ErrFull (Options.PeerBuffer bytes wait for this peer),
// ErrClosed, ErrSize. Without an error the envelope is queued, not delivered.
func (l *Loop) Send(to wire.Peer, env []byte) error { return l.send(to, env, inCompany) }

// SendPinned is Send for callers that are locked to an OS thread: it never
// yields the processor to gather company, which would cost them two thread
// switches.
func (l *Loop) SendPinned(to wire.Peer, env []byte) error { return l.send(to, env, atOnce) }

// SendSoon is Send for callers that go on to something else, of whatever length: they
// leave it to the loop, which is woken where it sleeps.
func (l *Loop) SendSoon(to wire.Peer, env []byte) error { return l.send(to, env, byLoop) }

// haste is how somebody who sends while the loop sleeps goes about it.
type haste int

const (
	inCompany haste = iota // he gives others the chance to add theirs, and sends it all
	atOnce                 // he sends
	byLoop                 // he wakes the loop
)

func (l *Loop) send(to wire.Peer, env []byte, how haste) error {
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
	if f := p.freight.Load(); f != nil && wire.Freight(env) {
		if first, waiting, err := f.enqueue(env, l.options.PeerBuffer); !errors.Is(err, ErrPeerGone) {
			return l.queuedOr(err, f, first, waiting, how)
		}
	}
	first, waiting, err := p.enqueue(env, l.options.PeerBuffer)
	return l.queuedOr(err, p, first, waiting, how)
}

// queuedOr is queued, unless nothing was.
func (l *Loop) queuedOr(err error, p *peer, first bool, waiting int, how haste) error {
	if err != nil {
		l.count.dropped.Add(1)
		return err
	}
	l.queued(p, first, waiting, how)
	return nil
}

// queued sees to it that somebody sends what has been added to p's outbox. first
// says that nobody does yet.
func (l *Loop) queued(p *peer, first bool, waiting int, how haste) {
	if first {
		p.socket.markDirty(p)
	}
	switch full := waiting >= frameFull; {
	case full:
		p.socket.flushAsSender(true)
	case !first || l.awake.Load():
	case how == byLoop:
		l.wakeIfParked()
	default:
		if how == inCompany {
			runtime.Gosched()
		}
		p.socket.flushAsSender(false)
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
// where the system failed. It may be called once.
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
	for !l.stopping.Load() || len(l.batch) > 0 {
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

// Rouse wakes the loop where it sleeps, for what others have left for it, see Gatherer.
// It reports false where the loop has ended: who has left something does it himself then.
// Any goroutine may call it.
func (l *Loop) Rouse() bool {
	l.wakeIfParked()
	return !l.ended.Load()
}

// turn is one round: receive what there is, work, flush, and sleep if that was
// all. Where there is a lot it is a portion of that.
func (l *Loop) turn() {
	now := time.Now()
	l.now.Store(now.UnixNano())
	l.elapsed.Store(int64(now.Sub(l.base)))
	more := l.receive()
	if !more {
		l.work()
	}
	// Whoever the batch has woken gets the chance to join the flush.
	if !l.options.Alone {
		runtime.Gosched()
	}
	l.gather()
	l.Flush()
	if !more {
		l.fail(l.park(l.alarm()))
	}
}

// Flush sends what has been queued. The loop does so at the end of each turn; a handler may,
// on the loop's goroutine, where something else must not be known before.
func (l *Loop) Flush() {
	for _, s := range *l.sockets.Load() {
		s.flushAsOwner()
	}
}

// alarm is when the loop has to be awake without anything to see.
func (l *Loop) alarm() time.Time {
	if !l.dialAt.IsZero() && l.dialAt.Before(l.tickAt) {
		return l.dialAt
	}
	return l.tickAt
}

func (l *Loop) gather() {
	if l.gathers != nil {
		l.gathers.Gather()
	}
}

// attend reads and writes where the poller has seen that something can be, from each
// connection its share.
func (l *Loop) attend() {
	l.share = max(batchBytes/max(1, len(l.signs)), readLeast)
	for i, sign := range l.signs {
		w := sign.watch
		l.signs[i].watch = nil
		if w.socket != nil {
			w.socket.accept()
			continue
		}
		if sign.out {
			w.link.socket.writable(w.link)
		}
		if sign.in {
			w.link.socket.read(w.link)
		}
	}
	l.signs = l.signs[:0]
}

// work runs what others have asked for and what the clock asks for. Where more is to
// be delivered, all of it waits: nothing that a peer has said comes after his Gone, and
// nobody is taken for silent while he is not listened to.
func (l *Loop) work() {
	calls, gone := l.inbox.take()
	for _, p := range gone {
		l.handler.Gone(p)
	}
	for _, f := range calls {
		f()
	}
	now := l.Time()
	if !now.Before(l.tickAt) {
		l.tickAt = now.Add(l.options.Tick)
		l.part()
		l.inspect(now)
		l.forgetIdle(now)
		l.handler.Tick(now)
	}
	l.dialAt = l.dialDue(now)
}

func (l *Loop) inspect(now time.Time) {
	if now.Before(l.inspectAt) {
		return
	}
	l.inspectAt = now.Add(inspectEvery)
	for _, s := range *l.sockets.Load() {
		s.inspect()
	}
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

	for _, s := range sockets {
		s.mute()
	}
	for unsent(sockets) && time.Now().Before(deadline) {
		if err := l.linger(deadline); err != nil {
			break
		}
	}
	for _, s := range sockets {
		s.close()
	}
	l.end()
	l.resolving.Wait()
	l.poller.close()
	l.waker.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// linger is a round of which nobody is told.
func (l *Loop) linger(deadline time.Time) (err error) {
	now := time.Now()
	l.elapsed.Store(int64(now.Sub(l.base)))
	if next := l.dialDue(now); !next.IsZero() && next.Before(deadline) {
		deadline = next
	}
	if l.signs, err = l.poller.wait(l.signs[:0], deadline); err != nil {
		return err
	}
	l.attend()
	for _, a := range l.batch {
		if a.block != nil {
			a.block.Release()
		}
	}
	clear(l.batch)
	l.batch = l.batch[:0]
	l.arena.reuse()
	return nil
}

// unsent flushes once more and tells whether something is left to flush.
func unsent(sockets []*socket) (left bool) {
	for _, s := range sockets {
		left = s.remains() || left
	}
	return left
}
