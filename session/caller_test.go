package session

import (
	"slices"
	"testing"
	"time"
)

func TestCallerWindow(t *testing.T) {
	c := NewCaller[int](3, 1000, 1)
	for want := uint64(1); want <= 3; want++ {
		if n, ok := begin(c, 1, int(want)); !ok || n != want {
			t.Fatalf("call %d gets %d, %v", want, n, ok)
		}
	}
	if n, ok := begin(c, 1, 4); ok {
		t.Fatalf("%d is beyond the window", n)
	}
	if what, ok := c.Settle(2); !ok || what != 2 || c.Ack() != 0 {
		t.Errorf("settled %d, %v, acknowledged to %d: 1 is in flight", what, ok, c.Ack())
	}
	if _, ok := begin(c, 1, 4); ok {
		t.Error("the window counts from the acknowledged number")
	}
	if _, ok := c.Settle(1); !ok || c.Ack() != 2 {
		t.Errorf("acknowledged to %d, want 2", c.Ack())
	}
	for _, n := range []uint64{0, 1, 2, 4, 99, 1<<64 - 1} {
		if _, ok := c.Settle(n); ok {
			t.Errorf("%d was settled and is not in flight", n)
		}
		if _, ok := c.Get(n); ok {
			t.Errorf("%d is not in flight", n)
		}
	}
	if n, ok := begin(c, 1, 4); !ok || n != 4 || c.Next() != 5 || c.InFlight() != 2 || !slices.Equal(c.All(), []uint64{3, 4}) {
		t.Errorf("%d, %v, next %d, in flight %v", n, ok, c.Next(), c.All())
	}
}

func TestCallerBytes(t *testing.T) {
	c := NewCaller[int](10, 100, 1)
	if _, ok := begin(c, 500, 0); !ok {
		t.Error("one alone is always taken")
	}
	if _, ok := begin(c, 1, 0); ok {
		t.Error("beyond the bytes")
	}
	c.Settle(1)
	for _, size := range []int{60, 40} {
		if _, ok := begin(c, size, 0); !ok {
			t.Errorf("%d bytes have room", size)
		}
	}
}

func begin[F any](c *Caller[F], size int, what F) (n uint64, ok bool) {
	n, place, ok := c.Begin(noon, size)
	if ok {
		*place = what
	}
	return n, ok
}

func TestCallerBacksOff(t *testing.T) {
	c := NewCaller[string](4, 100, 7)
	begin(c, 1, "seven")
	var sent []time.Duration
	for now := noon; now.Before(noon.Add(20 * time.Second)); now = now.Add(100 * time.Millisecond) {
		c.Overdue(now, func(n uint64, what *string) {
			if n != 7 || *what != "seven" {
				t.Errorf("again %d %q", n, *what)
			}
			sent = append(sent, now.Sub(noon))
		})
	}
	want := []time.Duration{1 * time.Second, 3 * time.Second, 7 * time.Second, 12 * time.Second, 17 * time.Second}
	if !slices.Equal(sent, want) {
		t.Errorf("sent again after %v, want %v", sent, want)
	}
}

func TestCallerHurryAndPostpone(t *testing.T) {
	c := NewCaller[string](4, 100, 1)
	if _, due := c.NextDue(); due {
		t.Error("something is due of nothing")
	}
	begin(c, 1, "a")
	begin(c, 1, "b")
	again := func(now time.Time) (sent []uint64) {
		c.Overdue(now, func(n uint64, _ *string) { sent = append(sent, n) })
		return sent
	}
	if sent := again(noon); sent != nil {
		t.Errorf("%v are due at once", sent)
	}
	c.Hurry(noon)
	c.Postpone(2, noon.Add(time.Hour))
	c.Postpone(9, noon)
	if due, ok := c.NextDue(); !ok || !due.Equal(noon) {
		t.Errorf("due %v, %v", due, ok)
	}
	if sent := again(noon); !slices.Equal(sent, []uint64{1}) {
		t.Errorf("%v are due, want 1", sent)
	}
	c.Settle(1)
	if due, ok := c.NextDue(); !ok || !due.Equal(noon.Add(time.Hour)) {
		t.Errorf("due %v, %v", due, ok)
	}
	*c.At(2) = "changed"
	if c.At(1) != nil || c.At(9) != nil {
		t.Error("what is settled, or was never begun, can still be changed")
	}
	if what, ok := c.Get(2); !ok || what != "changed" {
		t.Errorf("%q, %v", what, ok)
	}
	c.Settle(2)
	if n, what, ok := c.Begin(noon, 1); !ok || *what != "" {
		t.Errorf("call %d begins with %q, %v", n, *what, ok)
	}
}

func TestClocks(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	limits := Limits{Lease: 10 * time.Second, Idle: 30 * time.Second, MaxAge: 100 * time.Second}
	for name, c := range map[string]struct {
		do    func(c *Clocks)
		due   int
		which string
	}{
		"nothing happens":                 {func(*Clocks) {}, 10, ClockLease},
		"a beat":                          {func(c *Clocks) { c.Beat(at(5)) }, 15, ClockLease},
		"a beat of the past":              {func(c *Clocks) { c.Beat(at(-5)) }, 10, ClockLease},
		"beats do not end idleness":       {func(c *Clocks) { c.Beat(at(25)) }, 30, ClockIdle},
		"a call does":                     {func(c *Clocks) { c.Call(at(1)); c.Rest(at(20)); c.Beat(at(45)) }, 50, ClockIdle},
		"a running call is no idleness":   {func(c *Clocks) { c.Call(at(1)); c.Beat(at(80)) }, 90, ClockLease},
		"nothing lengthens the last":      {func(c *Clocks) { c.Call(at(99)); c.Beat(at(99)) }, 100, ClockMaxAge},
		"the end of a call is no beat":    {func(c *Clocks) { c.Call(at(1)); c.Rest(at(9)) }, 11, ClockLease},
		"a call's arrival is one as well": {func(c *Clocks) { c.Call(at(7)) }, 17, ClockLease},
	} {
		clocks := NewClocks(noon, limits)
		c.do(&clocks)
		if due, which := clocks.Next(); !due.Equal(at(c.due)) || which != c.which {
			t.Errorf("%s: %s after %v, want %s after %ds", name, which, due.Sub(noon), c.which, c.due)
		}
		if clocks.Expired(at(c.due).Add(-1)) != "" || clocks.Expired(at(c.due)) != c.which {
			t.Errorf("%s: expires at another moment than Next says", name)
		}
	}
	none := NewClocks(noon, Limits{})
	if _, which := none.Next(); which != "" || none.Expired(at(1<<30)) != "" {
		t.Errorf("no limits, and %q runs", which)
	}
	if none.Idle(at(5)) != 5*time.Second || !none.Opened().Equal(noon) || none.Limits() != (Limits{}) {
		t.Error("idle, opened or limits")
	}
	none.Call(at(5))
	if none.Idle(at(9)) != 0 {
		t.Error("idle during a call")
	}
}

func TestLimits(t *testing.T) {
	pool := Limits{Lease: 10, Window: 64}.WithDefaults()
	got := pool.Lowered(Limits{Lease: 20, Idle: 5, MaxAge: 7, Window: 128})
	if want := (Limits{Lease: 10, Idle: 5, MaxAge: 7, Window: 64}); got != want {
		t.Errorf("%+v, want %+v: what the pool bounds is never raised", got, want)
	}
	if got := pool.Lowered(Limits{Lease: 3, Window: 2}); got.Lease != 3 || got.Window != 2 {
		t.Errorf("%+v is not lowered", got)
	}
	if got := pool.Lowered(Limits{Lease: -1, Window: -1}); got != pool {
		t.Errorf("%+v, want %+v", got, pool)
	}
	if got := (Limits{Window: 1 << 20}).WithDefaults(); got.Window != MaxWindow || got.Lease != DefaultLease {
		t.Errorf("%+v", got)
	}
}
