package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// noise reads as so many bytes that are the same for the same seed.
func noise(seed uint64, size int64) io.Reader {
	var key [32]byte
	key[0] = byte(seed)
	return io.LimitReader(rand.NewChaCha8(key), size)
}

func checksum(r io.Reader) (sum uint32, size int64, err error) {
	h := crc32.NewIEEE()
	size, err = io.Copy(h, r)
	return h.Sum32(), size, err
}

// tide is what a handler of the pool of streams says of the argument it has read.
type tide struct {
	Size int64  `json:"size"`
	Sum  uint32 `json:"sum"`
}

// streams is a pool whose methods read and write large things.
func streams(name string, slots int) worker.Served {
	return streamsWith(worker.Config[struct{}]{Pool: name, Slots: slots})
}

func streamsWith(config worker.Config[struct{}]) worker.Served {
	p := worker.NewPool(config)
	worker.Handle(p, "read", func(_ context.Context, _ struct{}, size int64) (io.Reader, error) { return noise(1, size), nil })
	worker.HandleStream(p, "write", func(_ context.Context, _ struct{}, size int64, w io.Writer) error {
		_, err := io.Copy(w, struct{ io.Reader }{noise(1, size)})
		return err
	})
	worker.Handle(p, "bytes", func(_ context.Context, _ struct{}, size int64) ([]byte, error) { return io.ReadAll(noise(1, size)) })
	worker.Handle(p, "sum", func(_ context.Context, _ struct{}, arg io.Reader) (tide, error) {
		sum, size, err := checksum(arg)
		return tide{size, sum}, err
	})
	worker.Handle(p, "sum bytes", func(_ context.Context, _ struct{}, arg []byte) (tide, error) {
		sum, size, err := checksum(bytes.NewReader(arg))
		return tide{size, sum}, err
	})
	worker.Handle(p, "back", func(_ context.Context, _ struct{}, arg io.Reader) (io.Reader, error) { return arg, nil })
	return p
}

// bothPaths runs a test over the direct path, and over the relay.
func bothPaths(t *testing.T, test func(t *testing.T, s *client.Session)) {
	t.Helper()
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, streams("a", 2))
	t.Run("direct", func(t *testing.T) {
		s := open(t, c.dial(t), "a")
		direct(t, s)
		test(t, s)
	})
	t.Run("relayed", func(t *testing.T) { test(t, open(t, c.dial(t, client.WithRelayOnly()), "a")) })
}

const large = 12 << 20

// wantNoise checks what was to be noise of that size.
func wantNoise(t *testing.T, what string, got io.Reader, size int64) {
	t.Helper()
	want, _, _ := checksum(noise(1, size))
	if sum, n, err := checksum(got); err != nil || n != size || sum != want {
		t.Errorf("%s: %d bytes with the checksum %08x, %v; want %d with %08x", what, n, sum, err, size, want)
	}
}

func TestLargeReply(t *testing.T) {
	bothPaths(t, func(t *testing.T, s *client.Session) {
		t.Helper()
		for _, size := range []int64{0, 1, session.MaxChunk, session.MaxChunk + 1, large} {
			for _, method := range []string{"read", "write", "bytes"} {
				name := fmt.Sprintf("%s of %d bytes", method, size)
				var b []byte
				if err := s.Call(t.Context(), method, size, &b); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				wantNoise(t, name+", collected", bytes.NewReader(b), size)
			}
			var to bytes.Buffer
			if err := s.Call(t.Context(), "write", size, &to); err != nil {
				t.Fatal(err)
			}
			wantNoise(t, "written", &to, size)
			r, err := s.Stream(t.Context(), "read", size, client.WithChecksum())
			if err != nil {
				t.Fatal(err)
			}
			wantNoise(t, "read", r, size)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// errNoRoom is what a full disk says.
var errNoRoom = errors.New("no room")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errNoRoom }

// Who cannot write a reply is told why, however it came.
func TestReplyCannotBeWritten(t *testing.T) {
	bothPaths(t, func(t *testing.T, s *client.Session) {
		t.Helper()
		for _, size := range []int64{1, large} {
			for _, method := range []string{"read", "bytes"} {
				err := s.Call(t.Context(), method, size, full{})
				if !errors.Is(err, errNoRoom) || !errors.Is(err, session.ErrCancelled) || !strings.Contains(err.Error(), errNoRoom.Error()) {
					t.Errorf("%s of %d bytes: %v, want cancelled, %v", method, size, err, errNoRoom)
				}
			}
		}
	})
}

func TestLargeArgument(t *testing.T) {
	bothPaths(t, func(t *testing.T, s *client.Session) {
		t.Helper()
		for _, size := range []int64{0, 1, session.MaxChunk, session.MaxChunk + 1, large} {
			want, _, _ := checksum(noise(1, size))
			b, _ := io.ReadAll(noise(1, size))
			for what, arg := range map[string]any{"bytes": b, "a sized reader": bytes.NewReader(b), "a reader": noise(1, size)} {
				for _, method := range []string{"sum", "sum bytes"} {
					if r, ok := arg.(*bytes.Reader); ok {
						r.Reset(b)
					} else if _, ok := arg.(io.Reader); ok {
						arg = noise(1, size)
					}
					got, err := client.Call[tide](t.Context(), s, method, arg, client.WithChecksum())
					if err != nil || got != (tide{size, want}) {
						t.Errorf("%s of %s, %d bytes: %+v, %v; want %08x", method, what, size, got, err, want)
					}
				}
			}
		}
	})
}

// A caller that reads slowly, and one that sends slowly, have their handlers wait:
// for longer than their budget, and nobody takes that for hanging.
func TestWaitingForTheCallerIsNotHung(t *testing.T) {
	c := newCell(t, broker.Options{})
	const budget = 1500 * time.Millisecond
	c.serve(t, worker.Options{}, streamsWith(worker.Config[struct{}]{Pool: "a", Slots: 2, Budget: budget}))
	s := open(t, c.dial(t), "a")
	r, err := s.Stream(t.Context(), "write", int64(large))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(budget * 3 / 2) // what is waited for is that nothing happens
	wantNoise(t, "what was read late", r, large)
	late, feed := io.Pipe()
	time.AfterFunc(budget*3/2, func() {
		_, _ = io.Copy(feed, noise(1, 1<<20)) // the sum says it
		_ = feed.Close()
	})
	want, _, _ := checksum(noise(1, 1<<20))
	if got, err := client.Call[tide](t.Context(), s, "sum", late); err != nil || got != (tide{1 << 20, want}) {
		t.Errorf("what was sent late: %+v, %v", got, err)
	}
}

// A stream goes on where it was when its connection breaks: nothing is missing or
// twice.
func TestStreamSurvivesItsWay(t *testing.T) {
	c := newCell(t, broker.Options{})

	way := newProxy(t, strings.TrimPrefix(c.url, "tcp://"))
	c.serve(t, worker.Options{}, streams("a", 1))
	s := open(t, dial(t, "tcp://"+way.at, client.WithRelayOnly()), "a")
	for _, method := range []string{"read", "back"} {
		var arg any = int64(4 * large)
		if method == "back" {
			arg = noise(1, 4*large)
		}
		r, err := s.Stream(t.Context(), method, arg)
		if err != nil {
			t.Fatal(err)
		}
		cuts := 0
		wantNoise(t, method, readerFunc(func(b []byte) (int, error) {
			if cuts++; cuts == 200 || cuts == 700 {
				way.cut()
			}
			return r.Read(b[:min(len(b), 64<<10)])
		}), 4*large)
	}
}

type readerFunc func(b []byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// What is sent comes back while more is sent: neither side holds the whole.
func TestStreamsBothWaysAtOnce(t *testing.T) {
	bothPaths(t, func(t *testing.T, s *client.Session) {
		t.Helper()
		r, err := s.Stream(t.Context(), "back", noise(1, 4*large))
		if err != nil {
			t.Fatal(err)
		}
		wantNoise(t, "what came back", r, 4*large)
	})
}

// proxy passes TCP connections on until they are cut.
type proxy struct {
	at   string
	most int // connections that are passed on, 0: all

	mu     sync.Mutex
	conns  []net.Conn
	passed []*passage // of every connection, in the order in which they came
}

// passage is how many bytes have come from either side of a connection.
type passage struct{ near, far atomic.Int64 }

// tallied reads as its reader does, and counts.
type tallied struct {
	io.Reader

	n *atomic.Int64
}

func (c tallied) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	return newNarrow(t, to, 0)
}

// newNarrow passes so many connections on, 0: all.
func newNarrow(t *testing.T, to string, most int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{at: l.Addr().String(), most: most}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // the listener was closed
			}
			if p.most > 0 && len(p.passed) == p.most {
				_ = near.Close()
				continue
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close() // it is asked again
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			bytes := new(passage)
			p.passed = append(p.passed, bytes)
			p.mu.Unlock()
			pass := func(to, from net.Conn, n *atomic.Int64) {
				_, _ = io.Copy(to, tallied{from, n}) // until one of them is cut
				_, _ = to.Close(), from.Close()
			}
			all.Go(func() { pass(near, far, &bytes.far) })
			all.Go(func() { pass(far, near, &bytes.near) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		all.Wait()
	})
	return p
}

// cut breaks every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close() // it may be closed already
	}
	p.conns = nil
}

// lateReader is an argument whose reader fails when it is told to.
type lateReader struct{ fails <-chan error }

func (l lateReader) Read([]byte) (int, error) { return 0, <-l.fails }

// A reader that fails after its call has ended ends no other call: not the next
// one, which is waited for as that one was.
func TestReaderThatFailsAfterItsCall(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 2})
	worker.HandleStream(p, "refuse", func(context.Context, struct{}, io.Reader, io.Writer) error { return errors.New("not wanted") })
	began, let := make(chan bool, 1), make(chan bool)
	worker.Handle(p, "wait", func(ctx context.Context, _ struct{}, _ any) (string, error) {
		began <- true
		select {
		case <-let:
			return "let go", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	worker.Handle(p, "ping", func(context.Context, struct{}, any) (bool, error) { return true, nil })
	c.serve(t, worker.Options{}, p)
	cl := c.dial(t)
	s, other := open(t, cl, "p"), open(t, cl, "p")
	for i := range 10 {
		fails := make(chan error)
		if err := s.Call(t.Context(), "refuse", lateReader{fails}, nil); !errors.Is(err, session.ErrMethod) {
			t.Fatal(err)
		}
		next := make(chan error, 1)
		go func() {
			_, err := client.Call[string](t.Context(), s, "wait", 0)
			next <- err
		}()
		await(t, began, "the next call runs")
		fails <- errors.New("the upload broke off")
		for range 3 { // meanwhile a cancel would have come there
			if _, err := client.Call[bool](t.Context(), other, "ping", 0); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case err := <-next:
			t.Fatalf("round %d: a call that nobody cancelled: %v", i, err)
		case let <- true:
		}
		if err := await(t, next, "it ends"); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

// idle takes no part in anything: its loop only counts what is in use.
type idle struct{}

func (idle) Envelope(wire.Peer, []byte) {}
func (idle) Malformed(wire.Peer, error) {}
func (idle) Gone(wire.Peer)             {}
func (idle) Tick(time.Time)             {}

// blocks is how many blocks of what has come are in use in this process.
func blocks(t *testing.T) int {
	t.Helper()
	l, err := zmqio.NewLoop(idle{}, zmqio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n := l.Stats().Blocks
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
	return n
}

// fullDisk takes nothing, and says so once all that was to come has.
type fullDisk struct{ come func() }

func (f fullDisk) Write([]byte) (int, error) {
	f.come()
	return 0, errors.New("disk full")
}

// What is left unread of a reply gives its memory back.
func TestUnreadReplyGivesItsMemoryBack(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, streams("a", 2))
	cl := c.dial(t)
	s := open(t, cl, "a")
	direct(t, s)
	const size = 900 << 10 // two chunks, and all that may be on their way
	come := func(s *client.Session) func() {
		return func() {
			for range 3 { // behind the reply, on the same way
				if err := s.Call(t.Context(), "bytes", 1, nil); err != nil {
					t.Error(err)
				}
			}
		}
	}
	stream := func(s *client.Session) io.ReadCloser {
		r, err := s.Stream(t.Context(), "write", size)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	closing := func(r io.Closer) {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, leave := range []struct {
		how string
		one func()
	}{
		{"a Stream that is read to its end", func() {
			r := stream(s)
			wantNoise(t, "the reply", r, size)
			closing(r)
		}},
		{"a Stream that is closed early", func() {
			r := stream(s)
			if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
				t.Error(err)
			}
			come(s)()
			closing(r)
		}},
		{"a writer that fails", func() {
			if err := s.Call(t.Context(), "write", size, fullDisk{come(s)}); err == nil {
				t.Error("no error")
			}
		}},
		{"a Go that nobody waits for", func() {
			s := open(t, cl, "a")
			_ = s.Go(t.Context(), "write", size)
			come(s)()
			closeSession(t, s)
		}},
		{"a Stream that is closed with all of it come", func() {
			s := open(t, cl, "a")
			r := stream(s)
			come(s)()
			closing(r)
			closeSession(t, s)
		}},
	} {
		before := blocks(t)
		for range 6 {
			leave.one()
		}
		eventually(t, leave.how+" leaves nothing behind", func() bool {
			runtime.GC()
			return blocks(t) <= before
		})
	}
}
