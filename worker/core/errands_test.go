package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// doing is a node with one broker, peer 1.
type doing struct {
	t    *testing.T
	now  time.Time
	core *Core
	fx   Effects
}

func newDoing(t *testing.T) *doing {
	t.Helper()
	d := &doing{t: t, now: time.Unix(1000, 0)}
	d.core = New(d.now, Config{Node: 7, Pools: []Pool{{Name: "p", Slots: 2}}}, nil)
	d.core.AddBroker(d.now, 1, &d.fx)
	d.hear(&wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1})
	d.hear(&wire.Registered{Epoch: 1})
	return d
}

func (d *doing) hear(m wire.Control) {
	d.t.Helper()
	d.fx.Reset()
	d.core.Step(d.now, 1, wire.AppendControl(nil, m), &d.fx)
	d.audit()
}

func (d *doing) audit() {
	d.t.Helper()
	if err := d.core.Audit(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *doing) cast(request byte, change func(*wire.Cast)) {
	d.t.Helper()
	m := &wire.Cast{Epoch: 1, Client: uuid.UUID{1}, Request: uuid.UUID{0: request, 1: 1}, Pool: "p", Method: "m"}
	if change != nil {
		change(m)
	}
	d.hear(m)
}

func (d *doing) done(e *Errand, r session.Reply) {
	d.t.Helper()
	d.fx.Reset()
	d.core.ErrandDone(d.now, e, r, &d.fx)
	d.audit()
}

// said are the members of which the last step tells the broker.
func (d *doing) said() (all []wire.Member) {
	for _, o := range d.fx.Outs {
		m, err := wire.ParseControl(o.Env)
		if a, is := m.(*wire.Answer); is && err == nil {
			all = append(all, a.Members...)
		}
	}
	return all
}

// A broadcast runs once, however often it is asked; copies are answered from
// memory, and those that are too old for that are not run.
func TestCastRunsOnce(t *testing.T) {
	d := newDoing(t)
	d.cast(1, nil)
	if len(d.fx.Errands) != 1 || len(d.said()) != 0 {
		t.Fatalf("it begins %d errands", len(d.fx.Errands))
	}
	e := d.fx.Errands[0]
	d.cast(1, nil)
	if len(d.fx.Errands) != 0 || len(d.fx.Outs) != 1 || len(d.said()) != 0 {
		t.Errorf("a copy begins %d errands, and is answered by %d messages", len(d.fx.Errands), len(d.fx.Outs))
	}
	d.done(e, session.Reply{Body: []byte{8}})
	first := d.said()
	d.cast(1, func(m *wire.Cast) { m.Again, m.Method = true, "" })
	if again := d.said(); len(first) != 1 || len(again) != 1 || again[0].Fate != session.FateAnswered || again[0].Body[0] != 8 || len(d.fx.Errands) != 0 {
		t.Errorf("it answers %+v, and again %+v", first, again)
	}
	d.now = d.now.Add(castingsFor + 2*time.Second)
	d.fx.Reset()
	d.core.Tick(d.now, &d.fx)
	for name, change := range map[string]func(*wire.Cast){
		"a late copy":    func(m *wire.Cast) { m.Since = wire.Millis(castingsFor + 2*time.Second) },
		"a question for": func(m *wire.Cast) { m.Again = true },
	} {
		if d.cast(1, change); len(d.fx.Errands) != 0 || len(d.said()) != 1 || d.said()[0].Code != session.ErrReplyGone {
			t.Errorf("%s what it has forgotten: %+v, %d errands", name, d.said(), len(d.fx.Errands))
		}
	}
	if d.cast(2, nil); len(d.fx.Errands) != 1 {
		t.Error("a fresh one does not run")
	}
}

// Places, the wait for one, and what is remembered are bounded, and what is
// refused is told.
func TestCastsAreBounded(t *testing.T) {
	d := newDoing(t)
	begun := 0
	request := func(n int) func(*wire.Cast) {
		return func(m *wire.Cast) { m.Request = uuid.UUID{0: byte(n), 1: byte(n >> 8), 2: 9} }
	}
	var first *Errand
	for n := range asideMost + asideWaiting {
		m := &wire.Cast{Epoch: 1, Client: uuid.UUID{1}, Pool: "p", Method: "m"}
		request(n)(m)
		d.fx.Reset()
		d.core.Step(d.now, 1, wire.AppendControl(nil, m), &d.fx)
		if begun += len(d.fx.Errands); len(d.fx.Errands) > 0 && first == nil {
			first = d.fx.Errands[0]
		}
	}
	if begun != asideMost || d.core.Errands() != asideMost+asideWaiting {
		t.Errorf("%d run, of %d", begun, d.core.Errands())
	}
	d.cast(0, request(asideMost+asideWaiting))
	if m := d.said(); len(m) != 1 || m[0].Fate != session.FateFailed || m[0].Code != session.ErrOverloaded {
		t.Errorf("one more is answered by %+v", m)
	}
	if d.done(first, session.Reply{}); len(d.fx.Errands) != 1 {
		t.Errorf("a place that is free is given to %d", len(d.fx.Errands))
	}
	d.cast(0, func(m *wire.Cast) { request(9999)(m); m.Args = make([]byte, castingsBytes) })
	if m := d.said(); len(m) != 1 || m[0].Code != session.ErrOverloaded {
		t.Errorf("too large an argument to remember: %+v", m)
	}
}

// What nobody waits for any more does not start, and is cancelled where it has;
// a late copy of it starts nothing.
func TestCastOver(t *testing.T) {
	d := newDoing(t)
	d.cast(1, nil)
	e := d.fx.Errands[0]
	d.cast(1, func(m *wire.Cast) { m.Over = true })
	if len(d.fx.Cancel) != 1 || d.fx.Cancel[0].Errand != e || d.fx.Cancel[0].Session != nil {
		t.Errorf("it cancels %+v", d.fx.Cancel)
	}
	d.done(e, session.Reply{Code: session.ErrCancelled})
	d.cast(2, func(m *wire.Cast) { m.Over = true })
	if d.cast(2, nil); len(d.fx.Errands) != 0 || len(d.said()) != 1 || d.said()[0].Code != session.ErrCancelled {
		t.Errorf("a copy that its end has overtaken: %+v", d.said())
	}
}

// One on the side lane that makes no progress hangs once its budget is over; with
// progress it does not.
func TestErrandHangs(t *testing.T) {
	d := newDoing(t)
	d.core.pools["p"].Budget = time.Second
	d.cast(1, nil)
	e := d.fx.Errands[0]
	wait := func(span time.Duration, beats bool) (hung []Hung, said []wire.Member) {
		for end := d.now.Add(span); d.now.Before(end); {
			d.now = d.now.Add(20 * time.Millisecond)
			if beats && !d.core.ErrandBeat(d.now, e) {
				t.Fatal("it runs and may not beat")
			}
			d.core.Step(d.now, 1, wire.AppendControl(nil, &wire.Beat{Epoch: 1, Reply: true}), &d.fx)
			d.fx.Reset()
			d.core.Tick(d.now, &d.fx)
			hung, said = append(hung, d.fx.Hung...), append(said, d.said()...)
		}
		return hung, said
	}
	if hung, said := wait(3*time.Second, true); len(hung)+len(said) > 0 {
		t.Errorf("with progress: %+v, %+v", hung, said)
	}
	hung, said := wait(2*time.Second, false)
	if len(hung) != 1 || hung[0].Errand != e || len(said) != 1 || said[0].Fate != session.FateHung || d.core.Errands() != 0 {
		t.Errorf("without: %+v, %+v", hung, said)
	}
	if s := d.core.Sizes(); s.Aside != 1 {
		t.Errorf("it holds %d places until it returns", s.Aside)
	}
	if d.done(e, session.Reply{}); len(d.said()) != 0 || d.core.Sizes().Aside != 0 {
		t.Errorf("when it returns it says %+v", d.said())
	}
}

// What is remembered of broadcasts is bounded, answers too.
func TestRememberedAnswersAreBounded(t *testing.T) {
	d := newDoing(t)
	var all []*Errand
	for i := range byte(8) {
		d.cast(i+1, nil)
		all = append(all, d.fx.Errands...)
	}
	for _, e := range all {
		d.done(e, session.Reply{Raw: true, Body: make([]byte, 8<<20-8192)})
	}
	if n := d.core.castings.bytes; n > castingsBytes {
		t.Errorf("%d MiB are remembered, at most %d", n>>20, castingsBytes>>20)
	}
}

// Where all that run on the side lane hang, what waits there and what comes gets
// a fate; with the first that returns the lane is there again.
func TestSideLaneThatHangsRefuses(t *testing.T) {
	d := newDoing(t)
	var first *Errand
	for i := range byte(asideMost) {
		d.cast(i+1, func(m *wire.Cast) { m.Patience = 100 })
		if first == nil {
			first = d.fx.Errands[0]
		}
	}
	refused := func(said []wire.Member) bool {
		return len(said) == 1 && said[0].Fate == session.FateFailed && said[0].Code == session.ErrOverloaded
	}
	if d.cast(100, nil); len(d.said()) != 0 {
		t.Fatalf("while they run, one more is told %+v", d.said())
	}
	var told []wire.Member
	for range 40 {
		d.now = d.now.Add(100 * time.Millisecond)
		d.fx.Reset()
		d.core.Tick(d.now, &d.fx)
		d.audit()
		for _, m := range d.said() {
			if m.Fate != session.FateHung {
				told = append(told, m)
			}
		}
	}
	if !refused(told) {
		t.Errorf("what waited is told %+v", told)
	}
	if d.cast(101, nil); !refused(d.said()) || len(d.fx.Errands) != 0 {
		t.Errorf("what comes is told %+v", d.said())
	}
	d.done(first, session.Reply{})
	if d.cast(102, nil); len(d.said()) != 0 || len(d.fx.Errands) != 1 {
		t.Errorf("once a place is free, what comes is told %+v and begins %d", d.said(), len(d.fx.Errands))
	}
}
