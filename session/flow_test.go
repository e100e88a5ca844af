package session

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// counted is memory that knows how often it is held.
type counted struct{ held *int }

func (c counted) Hold() { *c.held++ }
func (c counted) Drop() { *c.held-- }

// Two halves over a way that loses, doubles and reorders chunks and credits: every
// byte comes once and in its place, neither side keeps more than it may, and in the
// end nothing is held.
func TestFlowOverABadWay(t *testing.T) {
	for seed := range uint64(300) {
		chance := rand.New(rand.NewPCG(seed, 1))
		held := 0
		const most, window = 40, 48
		out, in := NewOutflow(most, seed%2 == 0), NewInflow(window, -1)
		want := make([]byte, chance.IntN(500))
		for i := range want {
			want[i] = byte(chance.Uint32())
		}
		type chunk struct {
			c    Chunk
			last bool
		}
		type credit struct {
			taken, window uint64
			end           bool
		}
		var chunks []chunk
		var credits []credit
		var got []byte
		given := 0
		grant := func() {
			var c credit
			c.taken, c.window, c.end = in.Grant()
			credits = append(credits, c)
		}
		for step := 0; !out.Done() || !in.Complete() || in.Kept() > 0; step++ {
			if step > 100_000 {
				t.Fatalf("seed %d: %d of %d bytes have come", seed, len(got), len(want))
			}
			switch chance.IntN(6) {
			case 0:
				if n := min(1+chance.IntN(16), len(want)-given); n > 0 && (out.Room() >= n) {
					held++
					out.Give(want[given:given+n], counted{&held})
					given += n
				}
				if given == len(want) && !out.Ended() {
					out.End(7)
					if !out.marks && !in.Finish(uint64(given), 7) {
						t.Fatalf("seed %d: the end at %d is refused", seed, given)
					}
				}
			case 1:
				if c, last, _, ok := out.Next(); ok && chance.IntN(4) > 0 {
					chunks = append(chunks, chunk{c, last})
				}
			case 2:
				for len(chunks) > 0 {
					i := chance.IntN(len(chunks))
					if in.Arrive(chunks[i].c, chunks[i].last, 7) == ChunkWrong {
						t.Fatalf("seed %d: chunk at %d is wrong", seed, chunks[i].c.At)
					}
					if chance.IntN(3) > 0 {
						chunks = append(chunks[:i], chunks[i+1:]...)
					}
					if chance.IntN(3) == 0 {
						break
					}
				}
			case 3:
				if c, ok := in.Next(); ok {
					got = append(got, c.Body...)
					c.Drop()
				}
				if in.Due() {
					grant()
				}
			case 4:
				for len(credits) > 0 {
					i := chance.IntN(len(credits))
					c := credits[i]
					if chance.IntN(3) > 0 {
						credits = append(credits[:i], credits[i+1:]...)
					}
					if code := out.Credit(c.taken, c.window, c.end && out.marks); code != 0 {
						t.Fatalf("seed %d: credit %+v: %v", seed, c, code)
					}
					if chance.IntN(3) == 0 {
						break
					}
				}
			case 5:
				if chance.IntN(10) == 0 {
					out.Rewind()
					grant()
				}
			}
			if out.Kept() > most || in.Kept() > window {
				t.Fatalf("seed %d: %d and %d bytes are kept", seed, out.Kept(), in.Kept())
			}
		}
		if !bytes.Equal(got, want) || in.Sum() != 7 {
			t.Errorf("seed %d: %d bytes came of %d, sum %d", seed, len(got), len(want), in.Sum())
		}
		out.Close()
		in.Close()
		if held != 0 {
			t.Errorf("seed %d: %d chunks are still held", seed, held)
		}
	}
}

// What cannot be is refused, and changes nothing.
func TestFlowRefuses(t *testing.T) {
	in := NewInflow(100, 50)
	in.Grant()
	for what, c := range map[string]struct {
		at, size uint64
		last     bool
	}{
		"beyond the size": {40, 11, false}, "beyond the credit": {200, 1, false}, "overflowing": {1<<64 - 1, 2, false}, "a short end": {0, 10, true},
	} {
		if got := in.Arrive(Chunk{At: c.at, Body: make([]byte, c.size)}, c.last, 0); got != ChunkWrong {
			t.Errorf("%s: %d", what, got)
		}
	}
	if in.Finish(49, 0) || in.Complete() || in.Taken() != 0 {
		t.Error("another size than the announced one")
	}
	if in.Arrive(Chunk{Body: make([]byte, 50)}, true, 0) != ChunkTaken || !in.Complete() {
		t.Error("what is right is not taken")
	}
	out := NewOutflow(100, true)
	out.Give(make([]byte, 10), nil)
	for what, c := range map[string]struct {
		taken, window uint64
		end           bool
	}{
		"for what was not sent": {1, 1, false}, "above the bound": {0, MaxCredit + 1, false},
		"overflowing": {1<<64 - 1, 2, false}, "an end that is none": {0, 1, true},
	} {
		if code := out.Credit(c.taken, c.window, c.end); code != ErrStream || out.Limit() != 0 {
			t.Errorf("credit %s: %v, limit %d", what, code, out.Limit())
		}
	}
}

// Streams on one road take turns, and have no more on their way than it bears; one
// whose far end is silent makes room.
func TestRoadIsShared(t *testing.T) {
	road := NewRoad(30)
	flows := make([]*Outflow, 3)
	for i := range flows {
		flows[i] = NewOutflow(100, false)
		for range 5 {
			flows[i].Give(make([]byte, 10), nil)
		}
		if code := flows[i].Credit(0, 100, false); code != 0 {
			t.Fatal(code)
		}
		road.Join(flows[i])
	}
	sent := func() (n int) {
		for _, _, _, _, ok := road.Next(); ok; _, _, _, _, ok = road.Next() {
			n++
		}
		return n
	}
	if n := sent(); n != 3 || road.Flying() != 30 || flows[0].Sent() != 10 || flows[1].Sent() != 10 || flows[2].Sent() != 10 {
		t.Fatalf("%d chunks on the way, %d bytes: %d, %d, %d", n, road.Flying(), flows[0].Sent(), flows[1].Sent(), flows[2].Sent())
	}
	if code := flows[1].Credit(10, 90, false); code != 0 {
		t.Fatal(code)
	}
	if n := sent(); n != 1 || road.Flying() != 30 {
		t.Errorf("%d more, %d bytes", n, road.Flying())
	}
	flows[0].Stuck()
	if n := sent(); n != 2 { // it had its second turn before
		t.Errorf("%d more in the place of what is stuck", n)
	}
	for _, f := range flows {
		f.Close()
	}
	if !road.Empty() || road.Flying() != 0 {
		t.Errorf("%d bytes are left on the road", road.Flying())
	}
}

// One lane of a road leaves room for the others, within the bound of all.
func TestRoadHasLanes(t *testing.T) {
	road := NewRoadWithLanes(50, 20)
	lanes := []uint64{1, 1, 2, 3}
	flows := make([]*Outflow, len(lanes))
	sent := func() []uint64 {
		for _, _, _, _, ok := road.Next(); ok; _, _, _, _, ok = road.Next() {
		}
		var all []uint64
		for _, f := range flows {
			all = append(all, f.Sent())
		}
		return all
	}
	for i := range flows {
		flows[i] = NewOutflow(100, false)
		for range 5 {
			flows[i].Give(make([]byte, 10), nil)
		}
		if code := flows[i].Credit(0, 100, false); code != 0 {
			t.Fatal(code)
		}
		road.JoinLane(flows[i], lanes[i])
	}
	if got, want := sent(), []uint64{10, 10, 20, 10}; !slices.Equal(got, want) || road.Flying() != 50 {
		t.Fatalf("%d are sent, %d in all, want %d", got, road.Flying(), want)
	}
	if code := flows[3].Credit(10, 90, false); code != 0 {
		t.Fatal(code)
	}
	if got, want := sent(), []uint64{10, 10, 20, 20}; !slices.Equal(got, want) {
		t.Errorf("once one has taken some, %d are sent, want %d", got, want)
	}
	if road.JoinLane(flows[0], 4); road.lanes[1] != 10 {
		t.Errorf("once one of its two has left, %d bytes are on a lane", road.lanes[1])
	}
	for _, f := range flows {
		f.Close()
		f.Leave()
	}
	if !road.Empty() || road.Flying() != 0 || len(road.lanes) != 0 {
		t.Errorf("%d bytes are left on the road", road.Flying())
	}
}

// What comes early is bounded by the window too.
func TestEarlyChunksStayWithinTheWindow(t *testing.T) {
	f := NewInflow(4<<20, -1)
	f.Grant()
	body := make([]byte, MaxChunk)
	for i := range 64 {
		f.Arrive(Chunk{At: uint64(1 + i), Body: body}, false, 0)
	}
	if f.Kept() > f.Window() {
		t.Errorf("%d bytes are kept, the window is %d", f.Kept(), f.Window())
	}
}

// What was taken and not read is told before the road, which bears two chunks, has
// no room for another: a stream that nobody reads holds up no other there.
func TestTakenIsToldBeforeTheRoadIsFull(t *testing.T) {
	for _, size := range []int{MaxChunk, MaxChunk - 1000, MaxChunk/2 + 1} {
		f := NewInflow(DefaultCredit, -1)
		f.Grant()
		at := 0
		for ; at+size <= DefaultRoad; at += size {
			if got := f.Arrive(Chunk{At: uint64(at), Body: make([]byte, size)}, false, 0); got != ChunkTaken {
				t.Fatal(got)
			}
		}
		if !f.Due() {
			t.Errorf("%d bytes have come in chunks of %d, and that is not told", at, size)
		}
	}
}
