package session

import (
	"slices"
	"testing"
	"time"
)

var noon = time.Unix(43_200, 0)

// arrive is a call of ten bytes without a deadline.
func arrive(t *testing.T, c *Callee[string], n, ack uint64, want Verdict, code Code) Reply {
	t.Helper()
	v, r, got := c.Arrive(n, ack, n, 10, time.Time{}, "call")
	if v != want || got != code {
		t.Fatalf("call %d with ack %d: verdict %d, %v, want %d, %v", n, ack, v, got, want, code)
	}
	return r
}

func runs(t *testing.T, c *Callee[string], want uint64) {
	t.Helper()
	n, _, ok, expired := c.Next(noon)
	if n != want || ok != (want != 0) || len(expired) != 0 {
		t.Fatalf("%d runs next (%v, expired %v), want %d", n, ok, expired, want)
	}
}

func TestCallsRunInOrder(t *testing.T) {
	c := NewCallee[string](8, 1000)
	arrive(t, c, 3, 0, Queued, 0)
	arrive(t, c, 2, 0, Queued, 0)
	runs(t, c, 0)
	arrive(t, c, 1, 0, Queued, 0)
	runs(t, c, 1)
	runs(t, c, 0) // one at a time
	c.Finish(1, &Reply{})
	runs(t, c, 2)
	if numbers, calls := c.Waiting(); !slices.Equal(numbers, []uint64{3}) || len(calls) != 1 {
		t.Errorf("%v wait", numbers)
	}
	c.Finish(2, &Reply{})
	runs(t, c, 3)
}

func TestRepeatedCallsAreNeverRunAgain(t *testing.T) {
	c := NewCallee[string](8, 1000)
	arrive(t, c, 1, 0, Queued, 0)
	arrive(t, c, 1, 0, Repeated, 0)
	runs(t, c, 1)
	arrive(t, c, 1, 0, Repeated, 0)
	c.Finish(1, &Reply{Body: []byte("once")})
	for range 3 {
		if r := arrive(t, c, 1, 0, Replayed, 0); string(r.Body) != "once" {
			t.Errorf("replayed %q", r.Body)
		}
		runs(t, c, 0)
	}
	arrive(t, c, 2, 1, Queued, 0)
	arrive(t, c, 1, 0, Refused, ErrPast)
	arrive(t, c, 1, 1, Refused, ErrPast)
	if _, ok := c.Stored(1); ok {
		t.Error("an acknowledged reply is kept")
	}
}

func TestNumbersThatCannotBe(t *testing.T) {
	c := NewCallee[string](4, 1000)
	arrive(t, c, 0, 0, Refused, ErrFuture)
	arrive(t, c, 5, 0, Refused, ErrFuture)
	arrive(t, c, 1<<63, 0, Refused, ErrFuture)
	arrive(t, c, 1<<64-1, 1<<64-2, Refused, ErrFuture)
	arrive(t, c, 1, 1, Refused, ErrAcknowledged) // of itself
	arrive(t, c, 2, 1, Refused, ErrAcknowledged) // of what never came
	arrive(t, c, 1, 1<<64-1, Refused, ErrAcknowledged)
	arrive(t, c, 4, 0, Queued, 0)
	arrive(t, c, 1, 0, Queued, 0)
	runs(t, c, 1)
	arrive(t, c, 2, 1, Refused, ErrAcknowledged) // of what runs
	if c.Ack(1) != ErrAcknowledged || c.Ack(0) != 0 {
		t.Error("a running call was acknowledged")
	}
	c.Finish(1, &Reply{})
	arrive(t, c, 5, 1, Queued, 0) // beyond the window as it was, within it as this very call acknowledges
	if c.Acked() != 1 || c.Top() != 5 || c.Turn() != 2 {
		t.Errorf("acked %d, top %d, turn %d", c.Acked(), c.Top(), c.Turn())
	}
	if c.Kept() > 4 {
		t.Errorf("%d numbers kept in a window of 4", c.Kept())
	}
}

func TestANumberWithAnotherBodyIsRefused(t *testing.T) {
	c := NewCallee[string](4, 1000)
	arrive(t, c, 1, 0, Queued, 0)
	other := func() (Verdict, Code) {
		v, _, code := c.Arrive(1, 0, 99, 10, time.Time{}, "another")
		return v, code
	}
	for state, move := range []func(){func() {}, func() { runs(t, c, 1) }, func() { c.Finish(1, &Reply{}) }} {
		move()
		if v, code := other(); v != Refused || code != ErrRepeated {
			t.Errorf("state %d: %d, %v", state, v, code)
		}
	}
}

func TestBytesAreBounded(t *testing.T) {
	c := NewCallee[string](8, 25)
	arrive(t, c, 1, 0, Queued, 0)
	arrive(t, c, 2, 0, Queued, 0)
	arrive(t, c, 3, 0, Refused, ErrOverloaded)
	if c.Bytes() != 20 {
		t.Errorf("%d bytes kept, want 20", c.Bytes())
	}
	runs(t, c, 1)
	c.Finish(1, &Reply{Body: make([]byte, 5)})
	if c.Bytes() != 15 {
		t.Errorf("%d bytes kept, want 15: the call went, its reply came", c.Bytes())
	}
	arrive(t, c, 3, 1, Queued, 0)
	c = NewCallee[string](8, 5)
	arrive(t, c, 1, 0, Queued, 0) // one alone is always taken
}

func TestExpiredCallsNeverStart(t *testing.T) {
	c := NewCallee[string](8, 1000)
	for n, deadline := range []time.Time{noon.Add(-1), noon, noon.Add(-time.Hour), {}} {
		if v, _, code := c.Arrive(uint64(n+1), 0, 0, 1, deadline, "call"); v != Queued {
			t.Fatal(v, code)
		}
	}
	n, _, ok, expired := c.Next(noon)
	if n != 2 || !ok || !slices.Equal(expired, []uint64{1}) {
		t.Errorf("%d runs, %v expired", n, expired)
	}
	c.Finish(2, &Reply{})
	n, _, ok, expired = c.Next(noon)
	if n != 4 || !ok || !slices.Equal(expired, []uint64{3}) {
		t.Errorf("%d runs, %v expired", n, expired)
	}
	if r, ok := c.Stored(3); !ok || r.Code != ErrDeadline || r.Outcome != NotRun {
		t.Errorf("the tombstone is %+v, %v", r, ok)
	}
}

func TestCancel(t *testing.T) {
	c := NewCallee[string](8, 1000)
	want := func(n uint64, want Cancelled) {
		t.Helper()
		if got := c.Cancel(n, ErrCancelled); got != want {
			t.Errorf("cancel of %d: %d, want %d", n, got, want)
		}
	}
	want(0, CancelRefused)
	want(9, CancelRefused)
	want(1<<64-1, CancelRefused)
	want(2, CancelBefore) // before it arrives
	want(2, CancelLate)
	if r := arrive(t, c, 2, 0, Replayed, 0); r.Code != ErrCancelled || r.Outcome != NotRun {
		t.Errorf("the tombstone is %+v", r)
	}
	arrive(t, c, 1, 0, Queued, 0)
	arrive(t, c, 3, 0, Queued, 0)
	runs(t, c, 1)
	want(1, CancelRunning)
	want(3, CancelBefore) // while it waits
	if c.Bytes() != 10 {
		t.Errorf("%d bytes kept, want the running call's", c.Bytes())
	}
	c.Finish(1, &Reply{})
	arrive(t, c, 4, 1, Queued, 0)
	runs(t, c, 4) // past two tombstones
	want(1, CancelLate)
}

func TestFinishOfAnythingElseChangesNothing(t *testing.T) {
	c := NewCallee[string](8, 1000)
	arrive(t, c, 1, 0, Queued, 0)
	runs(t, c, 1)
	for _, n := range []uint64{0, 2, 99} {
		c.Finish(n, &Reply{Body: []byte("x")})
	}
	if c.Running() != 1 {
		t.Errorf("%d runs, want 1", c.Running())
	}
}

func TestCallIsHeldUntilItsEnd(t *testing.T) {
	c := NewCallee[string](8, 1000)
	arrive(t, c, 1, 0, Queued, 0)
	waiting, ok := c.Held(1)
	if _, never := c.Held(2); !ok || never {
		t.Errorf("held: the call that waits %v, one that never came %v", ok, never)
	}
	runs(t, c, 1)
	running, ok := c.Held(1)
	if ended := c.Finish(1, &Reply{}); !ok || waiting == "" || running != waiting || ended != waiting {
		t.Errorf("one call is %q while it waits, %q while it runs, %q at its end", waiting, running, ended)
	}
	if _, done := c.Held(1); done {
		t.Error("a call that is done is still held")
	}
	if again := c.Finish(1, &Reply{}); again != "" {
		t.Errorf("a call that ended before is given back once more: %q", again)
	}
}

func TestMove(t *testing.T) {
	c := NewCallee[string](8, 1000)
	for n := range uint64(4) {
		arrive(t, c, n+1, 0, Queued, 0)
	}
	runs(t, c, 1)
	c.Finish(1, &Reply{Body: []byte("kept")})
	runs(t, c, 2)
	next := c.Move()
	if next != 5 || c.Kept() != 0 || c.Bytes() != 0 {
		t.Fatalf("the new holder begins at %d; %d numbers, %d bytes kept", next, c.Kept(), c.Bytes())
	}
	arrive(t, c, 1, 0, Refused, ErrPast)
	arrive(t, c, 5, 4, Queued, 0)
	runs(t, c, 0) // the old holder's call is not over
	c.Finish(2, &Reply{Body: []byte("nobody's")})
	if _, ok := c.Stored(2); ok || c.Bytes() != 10 {
		t.Errorf("the old holder's reply is kept: %v, %d bytes", ok, c.Bytes())
	}
	runs(t, c, 5)
	c.Finish(5, &Reply{})
	if code := c.Ack(5); code != 0 || c.Kept() != 0 {
		t.Errorf("ack: %v, %d kept", code, c.Kept())
	}
	if next := NewCallee[string](8, 1000).Move(); next != 1 {
		t.Errorf("a fresh session moved begins at %d", next)
	}
}

func TestIdleCalleeIsSmall(t *testing.T) {
	c := NewCallee[string](MaxWindow, 1000)
	for n := uint64(1); n < 5000; n++ {
		arrive(t, c, n, n-1, Queued, 0)
		runs(t, c, n)
		c.Finish(n, &Reply{Body: []byte("r")})
	}
	if len(c.log) > 2 {
		t.Errorf("room for %d numbers, one at a time was used", len(c.log))
	}
}
