package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// lose lets so much time pass that the brokers, which say nothing, are given up.
func (d *desk) lose() {
	d.t.Helper()
	for range 1000 {
		if ok, _ := d.core.Connected(); !ok {
			return
		}
		d.tick(20 * time.Millisecond)
	}
	d.t.Fatal("its brokers are silent, and it does not notice")
}

// ended lets time pass until something has ended, and returns that.
func (d *desk) ended() []Result {
	d.t.Helper()
	for range 1000 {
		if d.tick(20 * time.Millisecond); len(d.fx.Results) > 0 {
			return d.fx.Results
		}
	}
	return nil
}

// withdrawn reports that the latest step takes an open back.
func (d *desk) withdrawn(o *Opening) bool {
	for _, out := range d.fx.Outs {
		if m, err := wire.ParseControl(out.Env); err == nil {
			if w, is := m.(*wire.Withdraw); is && w.Request == o.request {
				return true
			}
		}
	}
	return false
}

// An open that was never sent ends with its wait, and is not sent after that.
func TestWaitEndsWhereNoBrokerHasBeen(t *testing.T) {
	d := newDesk(t, 0)
	d.core.AddBroker(d.now, 1, &d.fx)
	d.fx.Reset()
	o, _ := d.core.Open(d.now, Wish{Pool: "p", Wait: 300 * time.Millisecond, First: &First{Method: "m", Tag: "call"}}, "open", &d.fx)
	got := d.ended()
	if len(got) != 2 || got[0].Tag != "open" || got[1].Tag != "call" {
		t.Fatalf("it ends as %+v", got)
	}
	for _, r := range got {
		if r.Err == nil || r.Err.Code != session.ErrNoWorker || r.Err.Outcome != session.NotRun {
			t.Errorf("%v ends as %v, want %v, not run", r.Tag, r.Err, session.ErrNoWorker)
		}
	}
	d.hear(1, &wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1, Lease: 10000})
	if len(d.said(1)) != 0 || d.withdrawn(o) || d.core.Sizes().Opens != 0 {
		t.Error("a broker that comes later hears of it")
	}
}

// One that a broker may have ends too, and is taken back once that broker is
// there again. What came along with it may have run.
func TestWaitEndsWhereTheBrokerIsLost(t *testing.T) {
	for outcome, first := range map[session.Outcome]*First{session.NotRun: nil, session.Unknown: {Method: "m", Tag: "call"}} {
		d := newDesk(t, 1)
		d.fx.Reset()
		o, _ := d.core.Open(d.now, Wish{Pool: "p", Wait: 300 * time.Millisecond, First: first}, "open", &d.fx)
		if len(d.said(1)) != 1 {
			t.Fatal("it was not sent")
		}
		d.lose()
		got := d.fx.Results
		if len(got) == 0 {
			got = d.ended()
		}
		if len(got) == 0 || first != nil && len(got) != 2 {
			t.Fatalf("with %v: it ends as %+v", first, got)
		}
		for _, r := range got {
			if r.Err == nil || r.Err.Code != session.ErrNoWorker || r.Err.Outcome != outcome {
				t.Errorf("with %v: %v ends as %v, want %v, %v", first, r.Tag, r.Err, session.ErrNoWorker, outcome)
			}
		}
		*o = Opening{request: o.request} // the memory is its owner's again
		d.hear(1, &wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1, Lease: 10000})
		if len(d.said(1)) != 0 || !d.withdrawn(o) {
			t.Errorf("with %v: it is not taken back", first)
		}
		d.hear(1, &wire.Refused{Request: o.request, Code: session.ErrWithdrawn})
		if len(d.fx.Results) != 0 || d.core.Sizes().Opens != 0 {
			t.Errorf("with %v: then it says %+v and keeps %d opens", first, d.fx.Results, d.core.Sizes().Opens)
		}
	}
}

// One without a wait of its own stays until a broker is there, as does one
// whose broker will say itself what has become of it.
func TestOpenStaysWithoutWait(t *testing.T) {
	d := newDesk(t, 1)
	d.lose()
	d.fx.Reset()
	o, _ := d.core.Open(d.now, Wish{Pool: "p"}, "open", &d.fx)
	if got := d.ended(); got != nil {
		t.Fatalf("it ends as %+v", got)
	}
	d.hear(1, &wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1, Lease: 10000})
	if len(d.said(1)) != 1 {
		t.Error("it is not sent when a broker is there")
	}
	d.hear(1, &wire.Opened{Request: o.request, Node: 7, Pool: "p", Session: uuid.UUID{15: 3}, Epoch: 1})
	if len(d.fx.Results) != 1 || d.fx.Results[0].Session == nil {
		t.Errorf("it ends as %+v", d.fx.Results)
	}
}

// A broker that has to be asked again for longer than the wait is not asked for
// ever: only where a call came along it may still say what became of that.
func TestWaitEndsWhereTheBrokerRecovers(t *testing.T) {
	for _, first := range []*First{nil, {Method: "m", Tag: "call"}} {
		d := newDesk(t, 1)
		d.fx.Reset()
		o, _ := d.core.Open(d.now, Wish{Pool: "p", Wait: 300 * time.Millisecond, First: first}, "open", &d.fx)
		d.tick(time.Second)
		d.hear(1, &wire.Refused{Request: o.request, Code: session.ErrRecovering})
		switch got := d.fx.Results; {
		case first != nil && len(got) != 0:
			t.Errorf("with a call it ends as %+v", got)
		case first == nil && (len(got) != 1 || got[0].Err == nil || got[0].Err.Code != session.ErrNoWorker):
			t.Errorf("it ends as %+v", got)
		}
	}
}
