package zmqio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// yard is a desk that takes blocks.
type yard struct {
	desk
	block func(from wire.Peer, env []byte, b *Block)
}

func (y *yard) Block(from wire.Peer, env []byte, b *Block) { y.block(from, env, b) }

// startYard runs a loop for y until the test ends.
func startYard(t testing.TB, y *yard, o Options) *Loop {
	t.Helper()
	l, err := NewLoop(y, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := await(t, ended, "the end of Run"); err != nil {
			t.Error(err)
		}
	})
	return l
}

// relay returns every envelope to its sender, large ones in the block that they
// came in, with their first byte changed.
func relay(t testing.TB, o Options) (*Loop, string) {
	t.Helper()
	y := &yard{}
	l := startYard(t, y, o)
	y.envelope = func(from wire.Peer, env []byte) { _ = l.Send(from, env) }
	y.block = func(from wire.Peer, env []byte, b *Block) {
		env[0]++
		_ = l.SendBlock(from, b)
		b.Release()
	}
	return l, listen(t, l)
}

// noBlocks waits until everybody has given his blocks back. Registered first, it
// runs when all loops have ended.
func noBlocks(t testing.TB) {
	t.Helper()
	blocksAreBack(t)
	t.Cleanup(func() { blocksAreBack(t) })
}

func blocksAreBack(t testing.TB) {
	t.Helper()
	until(t, "all blocks are given back", func() bool {
		blocks, bytes, _ := countBlocks()
		return blocks == 0 && bytes == 0
	})
}

// newBlock makes a block whose bytes depend on seed, all of them.
func newBlock(t testing.TB, size int, seed byte) *Block {
	t.Helper()
	b, err := NewBlock(size)
	if err != nil {
		t.Fatal(err)
	}
	fill(b.Bytes(), seed)
	return b
}

func fill(env []byte, seed byte) {
	for i := range env {
		env[i] = seed + byte(i) + byte(i>>8) + byte(i>>16)
	}
}

func TestBlocksComeBackAsTheyWere(t *testing.T) {
	noBlocks(t)
	_, endpoint := relay(t, Options{})
	got := make(chan string, 1)
	look := func(env []byte) {
		want := make([]byte, len(env))
		fill(want, 7)
		want[0] += env[0] - want[0]
		if string(want) != string(env) {
			got <- fmt.Sprintf("%d bytes, changed", len(env))
			return
		}
		got <- fmt.Sprintf("%d bytes, first %d", len(env), env[0])
	}
	y := &yard{desk: desk{envelope: func(_ wire.Peer, env []byte) { look(env) }}}
	y.block = func(_ wire.Peer, env []byte, b *Block) {
		look(env)
		b.Release()
	}
	l := startYard(t, y, Options{})
	to := connect(t, l, endpoint)
	for _, size := range []int{1, 1000, BlockMin - blockHead - 1, BlockMin - blockHead, BlockMin, 256<<10 + 100, wire.MaxEnvelope} {
		first := 7
		if size+blockHead >= BlockMin {
			first = 8 // the relay had it as a block
		}
		b := newBlock(t, size, 7)
		if err := l.SendBlock(to, b); err != nil {
			t.Fatal(err)
		}
		b.Release()
		if s, want := await(t, got, "the block"), fmt.Sprintf("%d bytes, first %d", size, first); s != want {
			t.Errorf("%s, want %s", s, want)
		}
	}
}

// A handler without Blocks gets large envelopes as before, and one without a
// connection of its own too: what a REQ sends and gets back has a delimiter.
func TestBlocksForThoseWhoDoNotAsk(t *testing.T) {
	noBlocks(t)
	_, endpoint := relay(t, Options{})
	got := make(chan []byte, 1)
	l, _ := start(t, &desk{envelope: func(_ wire.Peer, env []byte) { got <- env }}, Options{})
	to := connect(t, l, endpoint)
	b := newBlock(t, 100_000, 1)
	defer b.Release()
	want := string(b.Bytes())
	if err := l.SendBlock(to, b); err != nil {
		t.Fatal(err)
	}
	if env := await(t, got, "the copy"); string(env[1:]) != want[1:] {
		t.Error("came back changed")
	}
	req := raw(t, zmq.REQ, endpoint)
	if _, err := req.SendBytes(body(want), 0); err != nil {
		t.Fatal(err)
	}
	reply, err := req.RecvBytes(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := unbody(t, reply); len(got) != 1 || got[0][1:] != want[1:] {
		t.Errorf("%d envelopes came back to the REQ, changed", len(got))
	}
}

// Small envelopes and blocks to one peer arrive in the order in which they were
// sent, whoever sends the frames: the sender, the loop, or a retry.
func TestBlocksKeepTheOrder(t *testing.T) {
	const each = 400
	for name, small := range map[string]Options{"much may wait": {}, "little may wait": {PeerBuffer: 1 << 18}} {
		t.Run(name, func(t *testing.T) {
			noBlocks(t)
			next, done := uint64(0), make(chan error, 1)
			check := func(env []byte) {
				if n := binary.BigEndian.Uint64(env); n != next {
					done <- fmt.Errorf("got %d, want %d", n, next)
				}
				if next++; next == each {
					done <- nil
				}
			}
			y := &yard{desk: desk{envelope: func(_ wire.Peer, env []byte) { check(env) }}}
			y.block = func(_ wire.Peer, env []byte, b *Block) {
				check(env)
				b.Release()
			}
			endpoint := listen(t, startYard(t, y, small))
			l, _ := start(t, &desk{}, small)
			to := connect(t, l, endpoint)
			for n := range uint64(each) {
				until(t, "there is room", func() bool {
					err := sendNumbered(t, l, to, n)
					if err != nil && !errors.Is(err, ErrFull) {
						t.Fatal(err)
					}
					return err == nil
				})
			}
			if err := await(t, done, "the last one"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// sendNumbered sends every third number in a block, every other of them small.
func sendNumbered(t *testing.T, l *Loop, to wire.Peer, n uint64) error {
	t.Helper()
	if n%3 != 0 {
		return l.Send(to, binary.BigEndian.AppendUint64(nil, n))
	}
	size := BlockMin + int(n)
	if n%2 == 0 {
		size = 100
	}
	b := newBlock(t, size, 0)
	defer b.Release()
	binary.BigEndian.PutUint64(b.Bytes(), n)
	return l.SendBlock(to, b)
}

// The same block goes to several peers, and to one several times.
func TestBlockIsSentAgain(t *testing.T) {
	noBlocks(t)
	const peers, times = 3, 5
	var sum sync.WaitGroup
	sum.Add(peers * times)
	l, _ := start(t, &desk{}, Options{})
	b := newBlock(t, 70_000, 9)
	want := string(b.Bytes())
	for range peers {
		y := &yard{block: func(_ wire.Peer, env []byte, b *Block) {
			if string(env) != want {
				t.Error("came changed")
			}
			b.Release()
			sum.Done()
		}}
		to := connect(t, l, listen(t, startYard(t, y, Options{})))
		for range times {
			b.Retain()
			if err := l.SendBlock(to, b); err != nil {
				t.Fatal(err)
			}
			b.Release()
		}
	}
	arrived := make(chan struct{})
	go func() {
		sum.Wait()
		close(arrived)
	}()
	await(t, arrived, "all copies")
	if string(b.Bytes()) != want {
		t.Error("changed by sending")
	}
	b.Release()
}

func TestBlocksToAPeerThatDoesNotRead(t *testing.T) {
	noBlocks(t)
	came, gone := make(chan wire.Peer, 1), make(chan wire.Peer, 10)
	l, _ := start(t, &desk{
		envelope: func(from wire.Peer, _ []byte) { came <- from },
		gone:     func(p wire.Peer) { gone <- p },
	}, Options{PeerBuffer: 1 << 20})
	endpoint := listen(t, l)
	lazy := raw(t, zmq.DEALER, endpoint, func(s *zmq.Socket) error { return s.SetRcvhwm(1) })
	if _, err := lazy.SendBytes(body("hello"), 0); err != nil {
		t.Fatal(err)
	}
	p := await(t, came, "the peer")
	b := newBlock(t, 300_000, 0)
	defer b.Release()
	until(t, "the peer is full", func() bool {
		err := l.SendBlock(p, b)
		if err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		return err != nil && l.Stats().Stalled == 1
	})
	if s := l.Stats(); s.Blocks != 1 || s.Dropped == 0 {
		t.Errorf("%d blocks, want one, sent many times; %d dropped", s.Blocks, s.Dropped)
	}
	if err := lazy.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the peer is gone", func() bool {
		err := l.SendBlock(p, b)
		if err != nil && !errors.Is(err, ErrFull) && !errors.Is(err, ErrPeerGone) {
			t.Fatal(err)
		}
		return errors.Is(err, ErrPeerGone)
	})
	if got := await(t, gone, "Gone"); got != p {
		t.Errorf("%d gone, want %d", got, p)
	}
}

// What still waits when a loop ends is given back.
func TestBlocksOfALoopThatEnds(t *testing.T) {
	noBlocks(t)
	l, stop := start(t, &desk{}, Options{Linger: -1})
	nobody := connect(t, l, "tcp://127.0.0.1:1")
	other := connect(t, l, "tcp://127.0.0.1:2")
	b := newBlock(t, 1<<20, 0)
	for range 70 { // more than the pipe's frames
		for _, to := range []wire.Peer{nobody, other} {
			if err := l.SendBlock(to, b); err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		}
	}
	l.Disconnect(other)
	stop()
	if err := l.SendBlock(nobody, b); !errors.Is(err, ErrClosed) {
		t.Errorf("SendBlock after Run: %v", err)
	}
	b.Release()
}

func TestBlocksHaveALimit(t *testing.T) {
	noBlocks(t)
	_, endpoint := relay(t, Options{})
	got := make(chan int, 1)
	y := &yard{desk: desk{envelope: func(_ wire.Peer, env []byte) { got <- len(env) }}}
	y.block = func(_ wire.Peer, _ []byte, b *Block) {
		t.Error("a block beyond the limit")
		b.Release()
	}
	l := startYard(t, y, Options{})
	to := connect(t, l, endpoint)
	var held []*Block
	defer func() {
		for _, b := range held {
			b.Release()
		}
	}()
	for size := wire.MaxEnvelope; ; {
		b, err := NewBlock(size)
		switch {
		case err == nil:
			held = append(held, b)
			continue
		case !errors.Is(err, ErrBlocks):
			t.Fatal(err)
		case size > BlockMin:
			size /= 2
			continue
		}
		break
	}
	if n := l.Stats().BlockBytes; n > maxBlockBytes || n < maxBlockBytes-2*blockGrain {
		t.Errorf("%d bytes are held, the limit is %d", n, maxBlockBytes)
	}
	// Beside so many, what is received comes as it comes to those without Blocks.
	if err := l.SendBlock(to, held[0]); err != nil {
		t.Fatal(err)
	}
	if n := await(t, got, "the envelope"); n != wire.MaxEnvelope {
		t.Errorf("%d bytes, want %d", n, wire.MaxEnvelope)
	}
}

func TestBlocksThatAreNone(t *testing.T) {
	noBlocks(t)
	for _, size := range []int{-1, 0, wire.MaxEnvelope + 1} {
		if _, err := NewBlock(size); !errors.Is(err, ErrSize) {
			t.Errorf("NewBlock(%d): %v", size, err)
		}
	}
	b := newBlock(t, 100, 0)
	b.Cut(10)
	if got := unbody(t, b.frame); len(b.Bytes()) != 10 || len(got) != 1 || got[0] != string(b.Bytes()) {
		t.Errorf("cut to 10 bytes: %q", got)
	}
	for _, size := range []int{0, -1, 11} {
		mustPanic(t, func() { b.Cut(size) })
	}
	l, _ := start(t, &desk{}, Options{})
	if err := l.SendBlock(12345, b); !errors.Is(err, ErrPeerGone) {
		t.Errorf("SendBlock to nobody: %v", err)
	}
	b.Release()
	if err := l.SendBlock(connect(t, l, listen(t, l)), b); !errors.Is(err, ErrSize) {
		t.Errorf("SendBlock after Release: %v", err)
	}
	mustPanic(t, b.Release)
}

func mustPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("did not panic")
		}
	}()
	f()
}

// Large frames that are malformed cost no block and nobody anything.
func TestMalformedLargeFrames(t *testing.T) {
	large := make([]byte, BlockMin)
	good := body(string(large))
	cases := []struct {
		name  string
		parts []any
		want  error
		whole int // envelopes before the fault
	}{
		{"no head", []any{large}, wire.ErrFrame, 0},
		{"a length beyond its end", []any{good[:len(good)-1]}, wire.ErrFrame, 0},
		{"a length before its end", []any{append(body(string(large)), 1)}, wire.ErrFrame, 1},
		{"a length of 4 GiB", []any{append(wire.AppendHead(nil), append([]byte{255, 255, 255, 255}, large...)...)}, wire.ErrFrame, 0},
		{"body and large body", []any{good, good}, ErrExtraFrames, 0},
		{"large bodies", []any{"", good, good, good}, ErrExtraFrames, 0},
		{"body and small", []any{"", good, ""}, ErrExtraFrames, 0},
		{"several envelopes", []any{body(string(large), "small", string(large))}, nil, 3},
		{"one", []any{good}, nil, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			noBlocks(t)
			complaints, got := make(chan error, 10), make(chan int, 10)
			y := &yard{desk: desk{
				envelope:  func(_ wire.Peer, env []byte) { got <- len(env) },
				malformed: func(_ wire.Peer, err error) { complaints <- err },
			}}
			y.block = func(_ wire.Peer, env []byte, b *Block) {
				got <- len(env)
				b.Release()
			}
			dealer := raw(t, zmq.DEALER, listen(t, startYard(t, y, Options{})))
			if _, err := dealer.SendMessage(c.parts...); err != nil {
				t.Fatal(err)
			}
			if _, err := dealer.SendMessage(body("end")); err != nil {
				t.Fatal(err)
			}
			for range c.whole {
				await(t, got, "an envelope")
			}
			if c.want != nil {
				if err := await(t, complaints, "Malformed"); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
			}
			if n := await(t, got, "the end"); n != len("end") || len(complaints) != 0 {
				t.Errorf("an envelope of %d bytes and %d complaints too many", n, len(complaints))
			}
		})
	}
}

// BenchmarkBlocks sends chunks of 256 KiB under 4 MiB of credit: in blocks, and
// as ordinary envelopes.
func BenchmarkBlocks(b *testing.B) {
	const size, window = 256 << 10, 16
	for _, blocks := range []bool{true, false} {
		b.Run(fmt.Sprintf("blocks=%v", blocks), func(b *testing.B) {
			receiver := &yard{}
			credit := make(chan struct{}, window)
			for range window {
				credit <- struct{}{}
			}
			var h Handler = receiver
			if !blocks {
				h = &receiver.desk
			}
			l, err := NewLoop(h, Options{})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- l.Run(ctx) }()
			receiver.envelope = func(from wire.Peer, _ []byte) { _ = l.Send(from, []byte{1}) }
			receiver.block = func(from wire.Peer, _ []byte, c *Block) {
				c.Release()
				_ = l.Send(from, []byte{1})
			}
			sender, stop := start(b, &desk{envelope: func(wire.Peer, []byte) { credit <- struct{}{} }}, Options{})
			to := connect(b, sender, listen(b, l))
			source := make([]byte, size)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				<-credit
				if err := sendChunk(sender, to, source, blocks); err != nil {
					b.Fatal(err)
				}
			}
			for range window {
				<-credit
			}
			stop()
			cancel()
			if err := <-ended; err != nil {
				b.Error(err)
			}
			runtime.KeepAlive(source)
		})
	}
}

func sendChunk(l *Loop, to wire.Peer, source []byte, blocks bool) error {
	if !blocks {
		return l.Send(to, source)
	}
	b, err := NewBlock(len(source))
	if err != nil {
		return err
	}
	defer b.Release()
	copy(b.Bytes(), source) // a program's own data comes from somewhere
	return l.SendBlock(to, b)
}
