package zmqio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// stranger is a DEALER that a test plays byte by byte.
type stranger struct {
	net.Conn
	in    *bufio.Reader
	token []byte // what the ROUTER says of freight
}

// call connects to a ROUTER and says a READY with these properties.
func call(t *testing.T, endpoint string, more ...zmtp.Property) *stranger {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &stranger{Conn: conn, in: bufio.NewReader(conn)}
	s.say(t, zmtp.AppendReady(zmtp.Greeting(), zmtp.Dealer, more...))
	if _, err := s.in.Discard(zmtp.GreetingSize); err != nil {
		t.Fatal(err)
	}
	_, ready, err := zmtp.SplitCommand(s.frame(t))
	if err != nil {
		t.Fatal(err)
	}
	s.token = zmtp.FindProperty(ready, freightOf)
	return s
}

func (s *stranger) say(t *testing.T, data []byte) {
	t.Helper()
	if _, err := s.Write(data); err != nil {
		t.Fatal(err)
	}
}

func (s *stranger) tell(t *testing.T, envelope string) {
	t.Helper()
	s.say(t, message(nil, body(envelope), false))
}

// frame is the body of the next frame.
func (s *stranger) frame(t *testing.T) []byte {
	t.Helper()
	head, err := s.in.Peek(9)
	if err != nil && len(head) < 2 {
		t.Fatal(err)
	}
	h, n, err := zmtp.ReadHead(head)
	if err != nil || n == 0 {
		t.Fatalf("head %x: %d, %v", head, n, err)
	}
	whole := make([]byte, n+int(h.Size))
	if _, err := io.ReadFull(s.in, whole); err != nil {
		t.Fatal(err)
	}
	return whole[n:]
}

// ends reads to the end of the connection.
func (s *stranger) ends(t *testing.T) {
	t.Helper()
	if _, err := io.Copy(io.Discard, s.in); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Logf("it ends with %v", err)
	}
}

func freightFrom(s *stranger) zmtp.Property { return zmtp.Property{Key: freightFor, Value: s.token} }

// harbour is a ROUTER that knows one stranger, who has a link for freight. Came are
// those who send it something.
func harbour(t *testing.T, came chan wire.Peer) (l *Loop, endpoint string, p *peer, main, freight *stranger) {
	t.Helper()
	y := &yard{block: func(_ wire.Peer, _ []byte, b *Block) { b.Release() }}
	y.envelope = func(from wire.Peer, _ []byte) { came <- from }
	l = startYard(t, y, Options{})
	endpoint = listen(t, l)
	main = call(t, endpoint)
	main.tell(t, "hello")
	p = l.directory.find(await(t, came, "the stranger's first word"))
	freight = call(t, endpoint, freightFrom(main))
	until(t, "there is a link for freight", func() bool { return p.freight.Load() != nil })
	return l, endpoint, p, main, freight
}

// sendFreight queues a numbered block of freight.
func sendFreight(t *testing.T, l *Loop, to wire.Peer, n uint64) error {
	t.Helper()
	b := newBlock(t, 3*BlockMin, byte(n))
	defer b.Release()
	b.Bytes()[0] = byte(wire.KindReplyChunk)
	binary.BigEndian.PutUint64(b.Bytes()[1:], n)
	return l.SendBlock(to, b)
}

func numberOf(env []byte) uint64 { return binary.BigEndian.Uint64(env[1:]) }

// What is not freight waits for none of it, here of somebody who does not read his
// freight at all; the freight is in order among itself, what ends it included.
func TestFreightIsOvertaken(t *testing.T) {
	noBlocks(t)
	l, _, p, main, freight := harbour(t, make(chan wire.Peer, 10))
	var sent uint64
	for ; sendFreight(t, l, p.id, sent) == nil; sent++ {
		if err := l.Send(p.id, []byte("small")); err != nil {
			t.Fatal(err)
		}
		if got := unbody(t, main.frame(t)); len(got) != 1 || got[0] != "small" {
			t.Fatalf("%q came beside %d blocks of freight", got, sent)
		}
	}
	if sent*3*BlockMin < uint64(l.options.PeerBuffer)*9/10 {
		t.Fatalf("%d blocks fill a buffer of %d bytes", sent, l.options.PeerBuffer)
	}
	for n := range sent {
		env := unbody(t, freight.frame(t))[0]
		if got := numberOf([]byte(env)); len(env) != 3*BlockMin || got != n {
			t.Fatalf("block %d of %d bytes came in the place of %d", got, len(env), n)
		}
	}
	end := string([]byte{byte(wire.KindReply), byte(wire.FlagStream)})
	if err := l.Send(p.id, []byte(end)); err != nil {
		t.Fatal(err)
	}
	if got := unbody(t, freight.frame(t)); got[0] != end {
		t.Errorf("%q came behind the last block", got)
	}
}

// A peer who does not take his freight holds up nobody else's, and he can still be
// reached.
func TestFreightTakesTurns(t *testing.T) {
	noBlocks(t)
	came, blocks := make(chan wire.Peer, 10), make(chan uint64, 10)
	l, endpoint, p, _, _ := harbour(t, came)
	for n := uint64(0); sendFreight(t, l, p.id, n) == nil; n++ {
	}
	client := startYard(t, &yard{block: func(_ wire.Peer, env []byte, b *Block) {
		blocks <- numberOf(env)
		b.Release()
	}}, Options{})
	if err := client.Send(connect(t, client, endpoint), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	to := await(t, came, "hello")
	other := l.directory.find(to)
	for n, lone := uint64(0), 0; lone < 50; n++ { // as long as he has no link for it, and then some
		if err := sendFreight(t, l, to, n); err != nil {
			t.Fatal(err)
		}
		if got := await(t, blocks, "freight"); got != n {
			t.Fatalf("block %d came in the place of %d", got, n)
		}
		if other.freight.Load() != nil {
			lone++
		}
	}
}

// When the link for freight breaks, what waited for it is lost and its memory is
// back; the peer stays, and gets freight by the main link from then on.
func TestFreightLinkBreaks(t *testing.T) {
	noBlocks(t)
	l, endpoint, p, main, freight := harbour(t, make(chan wire.Peer, 10))
	for n := uint64(0); sendFreight(t, l, p.id, n) == nil; n++ {
	}
	_ = freight.Close()
	until(t, "the link is gone", func() bool { return p.freight.Load() == nil })
	blocksAreBack(t)
	if l.Stats().Dropped < 2 {
		t.Errorf("%d dropped: one was refused, and more were lost", l.Stats().Dropped)
	}
	if err := sendFreight(t, l, p.id, 77); err != nil {
		t.Fatal(err)
	}
	if got := numberOf([]byte(unbody(t, main.frame(t))[0])); got != 77 {
		t.Errorf("block %d came by the main link", got)
	}
	call(t, endpoint, freightFrom(main))
	until(t, "there is another link for freight", func() bool { return p.freight.Load() != nil })
}

// The link for freight ends with its main link: of both together one peer is gone.
func TestFreightEndsWithItsPeer(t *testing.T) {
	noBlocks(t)
	l, _, p, main, freight := harbour(t, make(chan wire.Peer, 10))
	if err := sendFreight(t, l, p.id, 1); err != nil {
		t.Fatal(err)
	}
	_ = main.Close()
	freight.ends(t)
	until(t, "its peer is gone", func() bool { return errors.Is(l.Send(p.id, []byte("anybody?")), ErrPeerGone) })
	if s := l.Stats(); s.Peers != 0 {
		t.Errorf("%d peers are left", s.Peers)
	}
}

// Nobody gets another's freight: not by guessing, not twice, and not for somebody
// who has said nothing. Whoever tries is told and cut, and nobody else notices.
func TestFreightOfOthers(t *testing.T) {
	noBlocks(t)
	l, endpoint, p, main, _ := harbour(t, make(chan wire.Peer, 10))
	silent := call(t, endpoint)
	for what, value := range map[string][]byte{
		"a guess": make([]byte, len(token{})), "a second link": main.token, "a short token": main.token[:5], "nothing": {}, "of one without a number": silent.token,
	} {
		s := call(t, endpoint, zmtp.Property{Key: freightFor, Value: value})
		name, rest, err := zmtp.SplitCommand(s.frame(t))
		if err != nil || name != zmtp.Error || !strings.Contains(zmtp.ReadError(rest), "freight") {
			t.Errorf("%s: told %q %q, %v", what, name, rest, err)
		}
		s.ends(t)
	}
	if err := l.Send(p.id, []byte("still")); err != nil {
		t.Fatal(err)
	}
	if got := unbody(t, main.frame(t)); got[0] != "still" {
		t.Errorf("%q came", got)
	}
}

// A DEALER whose freight goes by a link of its own loses nothing by that, either
// way, and does without where the far side knows nothing of it.
func TestFreightBothWays(t *testing.T) {
	noBlocks(t)
	mirror := &yard{}
	server := startYard(t, mirror, Options{})
	mirror.block = func(from wire.Peer, _ []byte, b *Block) {
		_ = server.SendBlock(from, b)
		b.Release()
	}
	endpoint := listen(t, server)
	back := make(chan uint64, 100)
	y := &yard{block: func(_ wire.Peer, env []byte, b *Block) {
		back <- numberOf(env)
		b.Release()
	}}
	l := startYard(t, y, Options{})
	to := connect(t, l, endpoint)
	lead := l.directory.find(to)
	for n, lone := uint64(0), 0; lone < 50; n++ { // as long as there is none, and then some
		if err := sendFreight(t, l, to, n); err != nil {
			t.Fatal(err)
		}
		if got := await(t, back, "the block"); got != n {
			t.Fatalf("block %d came back in the place of %d", got, n)
		}
		if lead.freight.Load() != nil {
			lone++
		}
	}

	var foreign string
	s := raw(t, zmq.ROUTER, "tcp://127.0.0.1:1", func(s *zmq.Socket) (err error) {
		if err = s.Bind("tcp://127.0.0.1:*"); err == nil {
			foreign, err = s.GetLastEndpoint()
		}
		return err
	})
	to = connect(t, l, foreign)
	for n := range uint64(3) {
		if err := sendFreight(t, l, to, n); err != nil {
			t.Fatal(err)
		}
		for { // the empty message of a connection that comes up first
			parts, err := s.RecvMessageBytes(0)
			if err != nil {
				t.Fatal(err)
			}
			if last := parts[len(parts)-1]; len(last) > 0 {
				if got := numberOf([]byte(unbody(t, last)[0])); got != n {
					t.Fatalf("block %d came in the place of %d", got, n)
				}
				break
			}
		}
	}
	if l.directory.find(to).freight.Load() != nil {
		t.Error("a link for freight to a ROUTER that knows of none")
	}
}

// Slices are small, and their writer gives way, while anything else comes; freight
// and its credit are not company.
func TestFreightHasCompany(t *testing.T) {
	l, p := idleLoop(t)
	credit := []byte{byte(wire.KindReplyCredit)}
	elapse := func(d int64) { l.elapsed.Add(d) }
	elapse(companyStays)
	for _, step := range []struct {
		env  string
		want int
	}{{string(credit), sliceAlone}, {"\x58 a chunk", sliceAlone}, {"\x40 a call", sliceBeside}, {string(credit), sliceBeside}} {
		l.deliver(&arrival{from: p.id, body: body(step.env)}, portion)
		if got := l.slice(); got != step.want {
			t.Errorf("after %q a slice has %d bytes, not %d", step.env, got, step.want)
		}
	}
	elapse(companyStays)
	if got := l.slice(); got != sliceAlone {
		t.Errorf("later a slice has %d bytes", got)
	}
	got := cut([][]byte{make([]byte, 10), make([]byte, 10), make([]byte, 10)}, 15)
	if len(got) != 2 || len(got[0]) != 10 || len(got[1]) != 5 {
		t.Errorf("15 bytes of three times 10 are %d pieces", len(got))
	}
}

// What is said besides messages goes between two of them, also where the loop says it
// between two slices of one; and it is said behind the last slice.
func TestFreightIsNotInterrupted(t *testing.T) {
	noBlocks(t)
	l, _, p, _, freight := harbour(t, make(chan wire.Peer, 10))
	halfway := make(chan bool, 1)
	l.Do(func() {
		l.accompanied() // slices are small
		_ = sendFreight(t, l, p.id, 5)
		f, s := p.freight.Load(), p.socket
		halfway <- f.begun()
		f.link.silent = pingAfter - 1
		s.inspect()
	})
	if !await(t, halfway, "a slice has been sent") {
		t.Fatal("nothing, or all, of a block went in one slice")
	}
	want := newBlock(t, 3*BlockMin, 5)
	defer want.Release()
	want.Bytes()[0] = byte(wire.KindReplyChunk)
	binary.BigEndian.PutUint64(want.Bytes()[1:], 5)
	if got := unbody(t, freight.frame(t))[0]; got != string(want.Bytes()) {
		t.Error("the block is not what was sent")
	}
	if name, _, err := zmtp.SplitCommand(freight.frame(t)); err != nil || name != zmtp.Ping {
		t.Errorf("behind it came %q, %v", name, err)
	}
}

// Links for freight leave room for those who come for the first time.
func TestFreightLeavesRoom(t *testing.T) {
	came := make(chan wire.Peer, 10)
	l := startYard(t, &yard{desk: desk{envelope: func(from wire.Peer, _ []byte) { came <- from }}}, Options{MaxPeers: 2})
	endpoint := listen(t, l)
	for range 2 {
		main := call(t, endpoint)
		main.tell(t, "hello")
		p := l.directory.find(await(t, came, "a first word"))
		freight := call(t, endpoint, freightFrom(main))
		var refused atomic.Bool
		go func() {
			_, _ = io.Copy(io.Discard, freight.in)
			refused.Store(true)
		}()
		until(t, "he has a link for freight, or is refused one", func() bool { return refused.Load() || p.freight.Load() != nil })
	}
	call(t, endpoint).tell(t, "hello")
	await(t, came, "the word of one more")
}

// A DEALER gives up a link for freight that has not been used for long, and makes
// another when there is freight again. Its main link stays, however idle.
func TestFreightLinkIsGivenUp(t *testing.T) {
	noBlocks(t)
	came := make(chan uint64, 10)
	server := startYard(t, &yard{block: func(_ wire.Peer, env []byte, b *Block) {
		came <- numberOf(env)
		b.Release()
	}}, Options{})
	l := startYard(t, &yard{}, Options{})
	to := connect(t, l, listen(t, server))
	p := l.directory.find(to)
	send := func(n uint64) {
		t.Helper()
		if err := sendFreight(t, l, to, n); err != nil {
			t.Fatal(err)
		}
		if got := await(t, came, "the block"); got != n {
			t.Fatalf("block %d came in the place of %d", got, n)
		}
	}
	idle := func(inspections int) (links int) {
		done := make(chan int)
		l.Do(func() {
			for range inspections {
				for k := range p.socket.links {
					k.silent = 0
				}
				p.socket.inspect()
			}
			done <- len(p.socket.links)
		})
		return await(t, done, "the inspections")
	}
	for range 3 {
		for n := uint64(0); p.freight.Load() == nil; n++ {
			send(n)
		}
		send(77) // by that
		if links := idle(freightKept - 1); links != 2 {
			t.Fatalf("%d links a moment before it is time", links)
		}
		if links := idle(3); links != 1 || p.freight.Load() != nil {
			t.Fatalf("%d links when it is", links)
		}
		p.socket.freightAt.Store(0) // or the next one has to wait
	}
	if server.Stats().Peers != 1 {
		t.Errorf("the far side has %d peers", server.Stats().Peers)
	}
}
