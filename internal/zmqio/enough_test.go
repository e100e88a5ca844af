package zmqio

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// The poller tells of the rest of a large frame once there is enough of it; of one
// that is slow to come it tells as of anything else, and so it does behind it.
func TestRestOfALargeFrameIsWaitedFor(t *testing.T) {
	if !waits {
		t.Skip("the system tells of all input here")
	}
	noBlocks(t)
	l := idleLoopOf(t, &yard{block: func(_ wire.Peer, _ []byte, b *Block) { b.Release() }})
	s := listening(l)
	k, far := standing(t, s)
	whole := message(nil, body(string(make([]byte, 2*enoughMost))), false)
	least := func(at, want int) {
		t.Helper()
		if k.enough != want {
			t.Fatalf("behind %d bytes of %d the poller waits for %d, want %d", at, len(whole), k.enough, want)
		}
	}
	at := 0
	hear := func(n int) {
		t.Helper()
		say(t, far, whole[at:at+n])
		at += n
		s.read(k)
	}
	hear(1000)
	least(at, enoughMost)
	for range waitsMost {
		s.inspect()
	}
	least(at, 0)
	hear(1000)
	least(at, enoughMost)
	for len(whole)-at > 1000 {
		hear(min(50_000, len(whole)-at-1000))
	}
	least(at, 1000)
	hear(1000)
	least(at, 0)
	if l.receive() || k.stage != flowing || l.count.envelopesIn.Load() != 1 {
		t.Errorf("%d envelopes have come, want 1", l.count.envelopesIn.Load())
	}
}

// Freight is what was sent wherever the kernel cuts it: what is read with the end of a
// chunk begins the next frame, large or small.
func TestFreightIsWholeWhereverItIsCut(t *testing.T) {
	noBlocks(t)
	var came []string
	d := desk{envelope: func(_ wire.Peer, env []byte) { came = append(came, string(env)) }}
	y := &yard{desk: d, block: func(_ wire.Peer, env []byte, b *Block) { came = append(came, string(env)); b.Release() }}
	for _, h := range []Handler{y, &d} {
		freightIsWhole(t, idleLoopOf(t, h), &came)
	}
}

func freightIsWhole(t *testing.T, l *Loop, came *[]string) {
	t.Helper()
	var want []string
	var said []byte
	for i, size := range []int{
		sliceBeside, 10, BlockMin, BlockMin + 1, 300, headOfNext, 3 * BlockMin, 1, 2, comingFirst + 100_000, heldMost + 1, BlockMin, 2*BlockMin + 5,
	} {
		env := make([]byte, size)
		fill(env, byte(i))
		want = append(want, string(env))
		said = message(said, body(string(env)), false)
	}
	for _, step := range []int{BlockMin - 1, BlockMin, BlockMin + 9, BlockMin + headOfNext/2, 100_003, len(said)} {
		*came = nil
		s := listening(l)
		k, far := standing(t, s)
		k.main = &link{}
		told := make(chan struct{})
		go func() {
			defer close(told)
			for piece := range slices.Chunk(said, step) {
				if _, err := far.Write(piece); err != nil {
					t.Error(err)
				}
			}
		}()
		until(t, fmt.Sprintf("all has come that was said by %d bytes", step), func() bool {
			s.read(k)
			for l.receive() {
			}
			return len(*came) >= len(want)
		})
		<-told
		k.main = nil // of whom there is nothing to be given back
		if !slices.Equal(*came, want) {
			t.Errorf("said by %d bytes, it is not what was said", step)
		}
	}
}

// The end of a connection is seen at once in the middle of a large frame too, of which
// the poller is not to tell before there is more, and so is the last byte of one.
func TestEndOfALargeFrame(t *testing.T) {
	noBlocks(t)
	came, gone := make(chan wire.Peer, 10), make(chan wire.Peer, 10)
	y := &yard{block: func(from wire.Peer, _ []byte, b *Block) { b.Release(); came <- from }}
	y.envelope = func(from wire.Peer, _ []byte) { came <- from }
	y.gone = func(p wire.Peer) { gone <- p }
	l := startYard(t, y, Options{})
	endpoint := listen(t, l)
	whole := message(nil, body(string(make([]byte, 2*enoughMost))), false)
	for what, end := range map[string]func(c *net.TCPConn) error{
		"its last byte": func(c *net.TCPConn) error { _, err := c.Write(whole[len(whole)-1:]); return err },
		"FIN":           (*net.TCPConn).CloseWrite,
		"RST":           func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
	} {
		s := call(t, endpoint)
		s.tell(t, "hello")
		from := await(t, came, "hello")
		k := l.directory.find(from).link
		s.say(t, whole[:len(whole)-1])
		halfway := make(chan bool, 1)
		until(t, "the rest is waited for", func() bool {
			l.Do(func() {
				halfway <- k.coming.bytes != nil && k.coming.filled+1 == k.coming.size && k.enough == 1 || !waits
			})
			return <-halfway
		})
		if err := end(s.Conn.(*net.TCPConn)); err != nil {
			t.Fatal(err)
		}
		if what == "its last byte" {
			await(t, came, what)
			continue
		}
		if got := await(t, gone, what); got != from {
			t.Errorf("%s: %d is gone, want %d", what, got, from)
		}
	}
}

// What there is of a large frame that does not come soon is read at the second
// inspection, without anything that comes meanwhile: the poller tells of it then.
func TestWhatThereIsOfALargeFrameIsRead(t *testing.T) {
	noBlocks(t)
	came := make(chan wire.Peer, 10)
	y := &yard{block: func(_ wire.Peer, _ []byte, b *Block) { b.Release() }}
	y.envelope = func(from wire.Peer, _ []byte) { came <- from }
	l := startYard(t, y, Options{})
	s := call(t, listen(t, l))
	s.tell(t, "hello")
	k := l.directory.find(await(t, came, "hello")).link
	whole := message(nil, body(string(make([]byte, 2*enoughMost))), false)
	filled := func(inspections int) (n int) {
		done := make(chan int, 1)
		l.Do(func() {
			for range inspections {
				k.socket.inspect()
			}
			done <- k.coming.filled
		})
		return await(t, done, "a look at the frame")
	}
	said := 0
	for _, n := range []int{1000, 2000, 3000} {
		s.say(t, whole[said:said+n])
		if said += n; said > 1000 {
			filled(waitsMost) // by then the kernel may have it, or gets it later
		}
		head := len(whole) - 2*enoughMost - 8
		until(t, "what has come is read", func() bool { return filled(0) == said-head })
	}
}
