package wire

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

func randomHeader(chance *rand.Rand) Header {
	h := Header{
		Kind: Kind(chance.UintN(256)), Flags: Flags(chance.UintN(256)), Code: session.Code(chance.UintN(1 << 16)),
		Epoch: chance.Uint32(), Via: Peer(chance.Uint64()), Node: session.NodeID(chance.Uint64()),
		Number: chance.Uint64(), Ack: chance.Uint64(), Budget: time.Duration(chance.Uint32()) * time.Millisecond,
	}
	for i := range h.Session {
		h.Session[i], h.Key[i] = byte(chance.UintN(256)), byte(chance.UintN(256))
	}
	if h.Flags&FlagTrace != 0 {
		for i := range h.Trace {
			h.Trace[i] = byte(chance.UintN(256))
		}
	}
	return h
}

func TestHeaderRoundTrip(t *testing.T) {
	chance := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		want := randomHeader(chance)
		body := []byte("body")
		env := append(want.Append(nil), body...)
		got, rest, err := ParseHeader(env)
		if err != nil || got != want || !bytes.Equal(rest, body) {
			t.Fatalf("%+v came back as %+v, %q, %v", want, got, rest, err)
		}
		if node, via, ok := RouteOf(env); !ok || node != want.Node || via != want.Via {
			t.Fatalf("route %v %v %v of %+v", node, via, ok, want)
		}
	}
}

func TestHeaderCuts(t *testing.T) {
	h := Header{Kind: KindReply, Flags: FlagTrace, Trace: [TraceSize]byte{1}}
	env := h.Append(nil)
	if len(env) != HeaderSize+TraceSize {
		t.Fatalf("%d bytes, want %d", len(env), HeaderSize+TraceSize)
	}
	for size := range env {
		got, _, err := ParseHeader(env[:size])
		if !errors.Is(err, ErrShort) || (got.Kind == h.Kind) != (size >= HeaderSize) {
			t.Errorf("%d bytes: %s, %v, want ErrShort, and the header if it is whole", size, got.Kind, err)
		}
		if _, _, ok := RouteOf(env[:size]); ok != (size >= HeaderSize) {
			t.Errorf("%d bytes have a route: %v", size, ok)
		}
	}
}

// What a broker or a retry writes into an envelope changes nothing else of it.
func TestHeaderIsPatchedInPlace(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 3))
	for range 200 {
		want := randomHeader(chance)
		env := append(want.Append(nil), "body"...)
		SetVia(env, 77)
		SetAck(env, 88, 99*time.Millisecond)
		want.Via, want.Ack, want.Budget = 77, 88, 99*time.Millisecond
		want.Flags |= FlagAgain
		if got, rest, err := ParseHeader(env); err != nil || got != want || string(rest) != "body" {
			t.Fatalf("%+v, %q, %v, want %+v", got, rest, err, want)
		}
	}
}

func TestMillisRoundsUpAndNeverToNone(t *testing.T) {
	for d, want := range map[time.Duration]uint32{
		0: 0, -time.Second: 0, math.MinInt64: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Second: 1000,
		math.MaxUint32 * time.Millisecond: math.MaxUint32, (math.MaxUint32 + 1) * time.Millisecond: math.MaxUint32,
		math.MaxInt64 - time.Millisecond: math.MaxUint32, math.MaxInt64: math.MaxUint32,
	} {
		if got := Millis(d); got != want {
			t.Errorf("%d ns are %d ms, want %d", d, got, want)
		}
	}
}

func TestCallRoundTrip(t *testing.T) {
	for _, method := range []string{"m", "add", strings.Repeat("x", MaxMethod)} {
		h := Header{Number: 3}
		env := AppendCall(nil, &h, method, []byte("args"))
		got, rest, err := ParseHeader(env)
		if err != nil || got.Kind != KindCall {
			t.Fatal(got, err)
		}
		if m, args, err := CutMethod(&got, rest); err != nil || string(m) != method || string(args) != "args" {
			t.Errorf("%q %q %v, want %q", m, args, err, method)
		}
	}
}

func TestMethodNamesThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		length session.Code
		rest   int
	}{
		"none": {0, 10}, "longer than what is there": {11, 10}, "over the bound": {MaxMethod + 1, 1000}, "longest": {math.MaxUint16, 10},
	} {
		h := Header{Kind: KindCall, Code: c.length}
		if m, _, err := CutMethod(&h, make([]byte, c.rest)); !errors.Is(err, ErrShort) {
			t.Errorf("%s: %q, %v", name, m, err)
		}
	}
}

func TestOutcomeTravelsInFlags(t *testing.T) {
	for _, o := range []session.Outcome{session.Done, session.NotRun, session.Unknown} {
		var h Header
		h.SetOutcome(o)
		if h.Outcome() != o {
			t.Errorf("%v came back as %v", o, h.Outcome())
		}
	}
}

func TestFailIsAnAnswer(t *testing.T) {
	var b Batch
	asked := Header{Kind: KindCall, Flags: FlagRaw | FlagTrace, Code: 3, Via: 9, Node: 8, Session: sampleSession, Key: sampleKey, Number: 7, Budget: 5}
	b.Fail(4, asked, session.ErrDeadline, session.NotRun, "too late", "stack")
	h, body, err := ParseHeader(b.Outs[0].Env)
	if err != nil || b.Outs[0].To != 4 {
		t.Fatal(b.Outs, err)
	}
	want := Header{Kind: KindFail, Flags: FlagNotRun, Code: session.ErrDeadline, Via: 9, Node: 8, Session: sampleSession, Number: 7}
	if h != want {
		t.Errorf("%+v, want %+v: no key, budget or flag of the call", h, want)
	}
	if f := ParseFailure(body); f.Text != "too late" || f.Stack != "stack" {
		t.Errorf("%+v", f)
	}
}

// What a batch holds stays as it was when more is added.
func TestBatchKeepsWhatItHolds(t *testing.T) {
	var b Batch
	for round := range 3 {
		b.Reset()
		var want [][]byte
		for i := range 500 {
			m := &Queued{Request: sampleRequest, Place: uint32(i + round)}
			b.Control(Peer(i), m)
			want = append(want, AppendControl(nil, m))
		}
		b.Copy(1000, []byte("copied"))
		b.Pass(1001, []byte("passed"))
		want = append(want, []byte("copied"), []byte("passed"))
		if len(b.Outs) != len(want) {
			t.Fatalf("%d envelopes, want %d", len(b.Outs), len(want))
		}
		for i := range want {
			if !bytes.Equal(b.Outs[i].Env, want[i]) {
				t.Fatalf("envelope %d is %x, want %x", i, b.Outs[i].Env, want[i])
			}
		}
	}
	b.Reset()
	if len(b.Outs) != 0 {
		t.Errorf("%d envelopes after Reset", len(b.Outs))
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, env := range sessionSamples() {
		f.Add(env)
	}
	f.Fuzz(func(t *testing.T, env []byte) {
		h, rest, err := ParseHeader(env)
		if err != nil {
			if !errors.Is(err, ErrShort) {
				t.Errorf("%v is not ErrShort", err)
			}
			return
		}
		again := append(h.Append(nil), rest...)
		if !bytes.Equal(again, env) {
			t.Errorf("written again it is\n%x, was\n%x", again, env)
		}
		if method, args, err := CutMethod(&h, rest); err == nil && len(method)+len(args) != len(rest) {
			t.Errorf("%q and %q of %q", method, args, rest)
		}
	})
}

func BenchmarkHeaderAppend(b *testing.B) {
	h := Header{Kind: KindCall, Session: sampleSession, Key: sampleKey, Number: 1}
	buf := make([]byte, 0, HeaderSize)
	b.ReportAllocs()
	for b.Loop() {
		buf = h.Append(buf[:0])
	}
}

func BenchmarkHeaderParse(b *testing.B) {
	h := Header{Kind: KindCall, Session: sampleSession, Key: sampleKey, Number: 1}
	env := h.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseHeader(env); err != nil {
			b.Fatal(err)
		}
	}
}
