package zmqio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// message appends one frame of a message.
func message(dst, frame []byte, more bool) []byte {
	flags := byte(0)
	if more {
		flags = 1
	}
	if len(frame) < 256 {
		dst = append(dst, flags, byte(len(frame)))
	} else {
		dst = binary.BigEndian.AppendUint64(append(dst, flags|2), uint64(len(frame)))
	}
	return append(dst, frame...)
}

// Whatever the kernel makes of a stream, and whatever it is read into, the
// envelopes are those that were sent.
func TestStreamInPieces(t *testing.T) {
	sizes := []int{1, 246, 247, 248, 249, 4000, heldMost - 9, heldMost - 8, heldMost - 7, BlockMin - 9, BlockMin - 8, BlockMin, 3 * BlockMin}
	for seed := range uint64(15) {
		random := rand.New(rand.NewPCG(seed, 1))
		var stream []byte
		var want []uint64
		envelope := func(i int) []byte {
			env := bytes.Repeat([]byte{byte(i)}, sizes[random.IntN(len(sizes))])
			want = append(want, sum(env))
			return env
		}
		for i := range 40 {
			switch random.IntN(5) {
			case 0:
				stream = zmtp.AppendPing(stream, 1)
			case 1: // of which nothing arrives
				for range 1 + random.IntN(3) {
					stream = message(stream, make([]byte, 1+random.IntN(2*heldMost)), true)
				}
				stream = message(stream, make([]byte, random.IntN(2*heldMost)), false)
			case 2:
				stream = message(stream, nil, true)
				stream = zmtp.AppendPing(stream, 1)
				stream = message(stream, wire.AppendEnvelope(wire.AppendHead(nil), envelope(i)), false)
			default:
				stream = message(stream, wire.AppendEnvelope(wire.AppendHead(nil), envelope(i)), false)
			}
		}
		for _, blocks := range []bool{false, true} {
			t.Run(fmt.Sprint(seed, blocks), func(t *testing.T) {
				d := &desk{}
				var h Handler = d
				if blocks {
					h = &taker{desk: desk{envelope: func(from wire.Peer, env []byte) { d.envelope(from, env) }}, take: func(env []byte) { d.envelope(0, env) }}
				}
				l := idleLoopOf(t, h)
				var got []uint64
				d.envelope = func(_ wire.Peer, env []byte) { got = append(got, sum(env)) }
				s := listening(l)
				k, far := standing(t, s)
				go func() { _, _ = io.Copy(io.Discard, far) }()
				for rest := stream; len(rest) > 0; {
					n := min(len(rest), 1+random.IntN([]int{3, 300, 60_000}[random.IntN(3)]))
					say(t, far, rest[:n])
					rest = rest[n:]
					s.read(k)
					l.receive()
				}
				if fmt.Sprint(got) != fmt.Sprint(want) || k.stage != flowing {
					t.Errorf("%d envelopes, want %d; stage %d, %v", len(got), len(want), k.stage, k.offence)
				}
			})
		}
	}
	if blocks, _, _ := countBlocks(); blocks != 0 {
		t.Errorf("%d blocks are still held", blocks)
	}
}

// sum tells envelopes apart, by size and content.
func sum(env []byte) (n uint64) {
	for _, b := range env {
		n = n*31 + uint64(b) + 1
	}
	return n
}

// sendSome sends one envelope, as a block or not, if there is room for it.
func sendSome(t *testing.T, l *Loop, to wire.Peer, env []byte, asBlock bool) (sent bool) {
	t.Helper()
	if !asBlock {
		return l.Send(to, env) == nil
	}
	b, err := NewBlock(len(env))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	copy(b.Bytes(), env)
	return l.SendBlock(to, b) == nil
}

// Whatever the kernel takes at a time, and whatever is said besides messages, the
// far side gets every envelope once and in order, by one connection or the next.
func TestWritesInPieces(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 2))
		l, p := idleLoop(t)
		s := p.socket
		k, far := standing(t, s)
		small(t, k.watch.fd)
		read := newReader(far)
		sent, broken := uint32(0), 0
		for sent < 300 || p.unsent() {
			if sent < 300 && sendSome(t, l, p.id, numberedEnvelope(sent, random.IntN(20_000)), random.IntN(3) == 0) {
				sent++
			}
			switch random.IntN(8) {
			case 0:
				say(t, far, zmtp.AppendPing(nil, 1))
				s.read(k)
			case 1, 2:
				s.flushAsOwner()
			case 3, 4, 5:
				read.some(random.IntN(30_000))
				if k.choked {
					s.writable(k)
				}
			case 6:
				if random.IntN(20) > 0 {
					continue
				}
				_ = far.Close()
				s.mu.Lock()
				s.cut(k, io.EOF)
				s.mu.Unlock()
				l.dialers = nil
				read.end(t)
				broken++
				k, far = standing(t, s)
				small(t, k.watch.fd)
				s.dialing.stood = true
				s.mu.Lock()
				s.push(k)
				s.mu.Unlock()
				read.again(far)
			}
			s.flushAsOwner()
		}
		read.all()
		read.end(t)
		if last := read.last; broken == 0 && last != sent || last > sent {
			t.Errorf("seed %d: %d sent, %d came, %d connections broke", seed, sent, last, broken)
		}
		if n := l.Stats().Blocks; n != 0 {
			t.Errorf("seed %d: %d blocks are still held", seed, n)
		}
	}
}
