package core

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// asking is a broker with nodes as peers 1 and up, and a client as peer 100.
type asking struct {
	t    *testing.T
	now  time.Time
	core *Core
	fx   Effects
}

const asker wire.Peer = 100

var (
	askerID = uuid.UUID{1}
	asked   = uuid.UUID{2}
)

func newAsking(t *testing.T, nodes int) *asking {
	t.Helper()
	a := &asking{t: t, now: time.Unix(1000, 0)}
	a.core = New(a.now, Config{ID: uuid.UUID{9}, Recovery: time.Millisecond})
	a.tick(20 * time.Millisecond)
	a.hear(asker, &wire.Hello{Min: 1, Max: 1, Role: wire.RoleClient, ID: askerID})
	for i := range nodes {
		a.join(i + 1)
	}
	return a
}

func (a *asking) join(n int) {
	a.hear(wire.Peer(n), &wire.Register{Node: session.NodeID(n), Secret: session.Key{byte(n)}, Name: "n", Pools: []wire.Pool{{Name: "p", Slots: 2}}})
}

func (a *asking) hear(from wire.Peer, m wire.Control) {
	a.t.Helper()
	a.fx.Reset()
	a.core.Step(a.now, from, wire.AppendControl(nil, m), &a.fx)
	a.core.Flush(&a.fx)
	if err := a.core.Audit(); err != nil {
		a.t.Fatal(err)
	}
}

// tick lets time pass in the steps of a loop that is in time.
func (a *asking) tick(d time.Duration) {
	a.t.Helper()
	a.fx.Reset()
	for end := a.now.Add(d); a.now.Before(end); {
		a.now = a.now.Add(20 * time.Millisecond)
		a.core.Tick(a.now, &a.fx)
	}
	if err := a.core.Audit(); err != nil {
		a.t.Fatal(err)
	}
}

// sent are the messages of one type to a peer, of the last step.
func sent[M wire.Control](a *asking, to wire.Peer) (list []M) {
	for _, o := range a.fx.Outs {
		if m, err := wire.ParseControl(o.Env); o.To == to && err == nil {
			if one, is := m.(M); is {
				list = append(list, one)
			}
		}
	}
	return list
}

func (a *asking) broadcast(m wire.Broadcast) {
	a.t.Helper()
	m.Client, m.Request = askerID, asked
	if m.Pool == "" {
		m.Pool = "p"
	}
	m.Method = "m"
	a.hear(asker, &m)
}

func (a *asking) answers(n int, body []byte) {
	a.t.Helper()
	a.hear(wire.Peer(n), &wire.Answer{Client: askerID, Request: asked, Members: []wire.Member{{Fate: session.FateAnswered, Body: body}}})
}

// A broadcast is told as it is settled, once a member, and complete with the
// last; what a client has not confirmed is told again, and forgotten once it has.
func TestBroadcastIsToldUntilConfirmed(t *testing.T) {
	a := newAsking(t, 2)
	a.broadcast(wire.Broadcast{})
	if m := sent[*wire.Answered](a, asker); len(m) != 1 || !m[0].Known || len(wire.UnpackMembers(m[0].Snapshot)) != 2 {
		t.Fatalf("the snapshot is told as %+v", m)
	}
	a.join(3)
	a.answers(1, []byte{1})
	a.answers(1, []byte{2})
	if m := sent[*wire.Answered](a, asker); len(m) != 0 {
		t.Errorf("a second answer of a member is told: %+v", m)
	}
	a.answers(3, []byte{1})
	a.hear(2, &wire.Answer{Client: askerID, Request: asked})
	a.tick(askAgain + 40*time.Millisecond)
	if m := sent[*wire.Cast](a, 2); len(m) != 1 || !m[0].Again || m[0].Method != "" || len(sent[*wire.Cast](a, 1))+len(sent[*wire.Cast](a, 3)) > 0 {
		t.Errorf("who is still at it is asked again by %+v", m)
	}
	a.answers(2, []byte{2})
	said := sent[*wire.Answered](a, asker)
	done := sent[*wire.Complete](a, asker)
	if len(said) != 1 || said[0].First != 2 || len(done) != 1 || done[0].Members != 2 || done[0].Answered != 2 {
		t.Fatalf("the last is told as %+v, %+v", said, done)
	}
	a.broadcast(wire.Broadcast{Since: 1, Broker: said[0].Broker, Run: said[0].Run, Have: 1, Missing: wire.AppendMember(nil, session.MemberID{Node: 2})})
	if m := sent[*wire.Answered](a, asker); len(m) != 1 || m[0].First != 2 || m[0].Base != 1 || len(sent[*wire.Complete](a, asker)) != 1 {
		t.Errorf("told again: %+v", m)
	}
	a.hear(asker, &wire.Heard{Client: askerID, Request: asked, Done: true})
	a.broadcast(wire.Broadcast{Since: 1})
	if s := a.core.Sizes(); s.Casts != 0 || len(a.fx.Outs) != 0 {
		t.Errorf("a late copy begins %+v and is answered by %d messages", s, len(a.fx.Outs))
	}
}

// A client that does not confirm gets no more than there is room for, and every
// answer in the end.
func TestBroadcastHoldsAnswersBack(t *testing.T) {
	const nodes = 8
	a := newAsking(t, nodes)
	a.broadcast(wire.Broadcast{})
	told := sent[*wire.Answered](a, asker)[0]
	large := make([]byte, answersBytes/2)
	got := 0
	count := func() {
		for _, m := range sent[*wire.Answered](a, asker) {
			got += len(m.Members)
		}
	}
	for n := range nodes {
		a.answers(n+1, large)
		count()
	}
	if got != 2 {
		t.Errorf("%d answers of half the room are told, want 2", got)
	}
	for have := uint32(1); have <= nodes; have++ {
		a.hear(asker, &wire.Heard{Client: askerID, Request: asked, Broker: told.Broker, Run: told.Run, Have: have})
		count()
	}
	if done := sent[*wire.Complete](a, asker); got != nodes || len(done) != 0 {
		t.Errorf("%d answers are told, complete again by %+v", got, done)
	}
}

// What is over the bytes that may be kept was answered all the same: its body is
// gone.
func TestBroadcastBytesAreBounded(t *testing.T) {
	a := newAsking(t, 2)
	a.broadcast(wire.Broadcast{})
	a.core.castBytes += castBytesMost // as other broadcasts would
	a.answersUnaudited(1, []byte{1})
	a.core.castBytes -= castBytesMost
	a.answers(2, []byte{1})
	b := a.core.casts[session.OpenKey{Client: askerID, Request: asked}]
	if m := b.settled[0]; m.Fate != session.FateAnswered || m.Code != session.ErrReplyGone || m.Body != nil {
		t.Errorf("it is kept as %+v", m)
	}
	a.core.castBytes += castBytesMost
	a.fx.Reset()
	a.core.Step(a.now, asker, wire.AppendControl(nil, &wire.Broadcast{Client: askerID, Request: uuid.UUID{3}, Pool: "p", Method: "m", Args: []byte{1}}), &a.fx)
	if m := sent[*wire.Refused](a, asker); len(m) != 1 || m[0].Code != session.ErrOverloaded {
		t.Errorf("another one is answered by %+v", m)
	}
	a.core.castBytes -= castBytesMost
}

func (a *asking) answersUnaudited(n int, body []byte) {
	a.fx.Reset()
	m := &wire.Answer{Client: askerID, Request: asked, Members: []wire.Member{{Fate: session.FateAnswered, Body: body}}}
	a.core.Step(a.now, wire.Peer(n), wire.AppendControl(nil, m), &a.fx)
}

// A client that brings along whom it waits for has those asked and no others;
// one that is not known any more has died.
func TestBroadcastGoesOnAtTheNextBroker(t *testing.T) {
	a := newAsking(t, 2)
	missing := wire.AppendMember(wire.AppendMember(nil, session.MemberID{Node: 2}), session.MemberID{Node: 7})
	a.broadcast(wire.Broadcast{Since: 3000, Try: 2, Missing: missing})
	if len(sent[*wire.Cast](a, 1)) != 0 {
		t.Error("who was no member is asked")
	}
	if m := sent[*wire.Cast](a, 2); len(m) != 1 || m[0].Again || m[0].Since < 3000 {
		t.Errorf("who was is asked by %+v", m)
	}
	m := sent[*wire.Answered](a, asker)
	if len(m) != 1 || m[0].Known || m[0].Try != 2 || len(m[0].Members) != 1 || m[0].Members[0].Fate != session.FateDied {
		t.Errorf("who has not come back is told as %+v", m)
	}
}

// A copy from before the client knew whom the broker before had asked begins the
// broadcast anew; those are members as well as soon as the client names them.
func TestBroadcastTakesInWhomItsClientWaitsFor(t *testing.T) {
	a := newAsking(t, 1)
	a.broadcast(wire.Broadcast{Since: 1000, Try: 1})
	began := sent[*wire.Answered](a, asker)
	if len(began) != 1 || !began[0].Known {
		t.Fatalf("a late copy is answered by %+v", began)
	}
	a.join(2)
	a.answers(1, []byte{1})
	if len(sent[*wire.Complete](a, asker)) != 1 {
		t.Fatal("the only member has answered, and it is not complete")
	}
	missing := wire.AppendMember(wire.AppendMember(nil, session.MemberID{Node: 2}), session.MemberID{Node: 7})
	again := wire.Broadcast{Since: 2000, Try: 2, Broker: began[0].Broker, Run: began[0].Run, Missing: missing}
	a.broadcast(again)
	if m := sent[*wire.Cast](a, 2); len(m) != 1 || m[0].Method != "m" || m[0].Again {
		t.Errorf("the one who is there is asked by %+v", m)
	}
	if n := len(sent[*wire.Cast](a, 1)) + len(sent[*wire.Complete](a, asker)); n != 0 {
		t.Errorf("who has answered is asked again, or it is complete (%d)", n)
	}
	if m := sent[*wire.Answered](a, asker); len(m) != 1 || len(m[0].Members) != 2 || m[0].Members[1].Node != 7 || m[0].Members[1].Fate != session.FateDied {
		t.Errorf("who is not there is told as %+v", m)
	}
	a.broadcast(again)
	if n := len(sent[*wire.Cast](a, 2)); n != 0 {
		t.Errorf("a copy asks %d times more", n)
	}
	a.tick(askAgain + 40*time.Millisecond)
	if n := len(sent[*wire.Cast](a, 2)); n != 1 {
		t.Errorf("who has not answered is asked %d times again, want 1", n)
	}
	a.answers(2, []byte{2})
	if m := sent[*wire.Complete](a, asker); len(m) != 1 || m[0].Members != 3 || m[0].Answered != 2 || m[0].Died != 1 {
		t.Errorf("complete: %+v", m)
	}
	most := make([]byte, 0, wire.MaxMembers*24)
	for i := range wire.MaxMembers {
		most = wire.AppendMember(most, session.MemberID{Node: session.NodeID(100 + i)})
	}
	a.broadcast(wire.Broadcast{Since: 3000, Try: 3, Missing: most})
	if m := sent[*wire.Refused](a, asker); len(m) != 1 || m[0].Code != session.ErrTooLarge {
		t.Errorf("more than a broadcast may have: %+v", m)
	}
}

// The ways in which a member is lost.
func TestBroadcastFates(t *testing.T) {
	lost := func(a *asking) session.Fate {
		i := slices.IndexFunc(a.fx.Outs, func(o wire.Out) bool { return wire.KindOf(o.Env) == wire.KindAnswered })
		if i < 0 {
			return session.FateOpen
		}
		m, _ := wire.ParseControl(a.fx.Outs[i].Env)
		return m.(*wire.Answered).Members[0].Fate
	}
	for _, test := range []struct {
		name   string
		budget uint32
		happen func(a *asking)
		want   session.Fate
	}{
		{"its start record is found", 0, func(a *asking) {
			a.fx.Reset()
			a.core.BuryAll(a.now, 1, map[session.ID]uint64{}, session.Death{}, &a.fx)
		}, session.FateDied},
		{"its supervisor says that it hung", 0, func(a *asking) {
			a.fx.Reset()
			a.core.BuryAll(a.now, 1, map[session.ID]uint64{}, session.Death{Code: session.ErrWorkerHung, Text: "no beat"}, &a.fx)
		}, session.FateHung},
		{"its connection breaks and it does not come back", 0, func(a *asking) {
			a.core.Gone(a.now, 1, &a.fx)
			a.tick(2 * time.Second)
		}, session.FateDied},
		{"it is silent", 0, func(a *asking) { a.tick(10 * time.Second) }, session.FateHung},
		{"it leaves", 0, func(a *asking) { a.hear(1, &wire.Leave{}) }, session.FateLeft},
		{"the time is over", 700, func(a *asking) { a.tick(time.Second) }, session.FateDeadline},
	} {
		a := newAsking(t, 1)
		a.broadcast(wire.Broadcast{Budget: test.budget})
		test.happen(a)
		if got := lost(a); got != test.want || len(sent[*wire.Complete](a, asker)) == 0 {
			t.Errorf("%s: %s, want %s, and complete", test.name, got, test.want)
		}
	}
}

// While the broker recovers it takes no broadcast, and one of a client that is
// given up ends, and its nodes are told.
func TestBroadcastBeginsAndEndsWithItsTime(t *testing.T) {
	a := newAsking(t, 1)
	a.core.cfg.Recovery = time.Hour
	a.broadcast(wire.Broadcast{})
	if m := sent[*wire.Refused](a, asker); len(m) != 1 || m[0].Code != session.ErrRecovering {
		t.Errorf("while it recovers: %+v", m)
	}
	a.core.cfg.Recovery = time.Millisecond
	a.broadcast(wire.Broadcast{})
	a.fx.Reset()
	a.core.clientGone(a.now, askerID, &a.fx)
	if m := sent[*wire.Cast](a, 1); len(m) != 1 || !m[0].Over || a.core.Sizes().Casts != 0 {
		t.Errorf("its node is told %+v, %d are left", m, a.core.Sizes().Casts)
	}
}

// Status lists what is under way, the oldest first, with the nodes that it waits
// for, and the complete one that its client has not confirmed.
func TestBroadcastStatus(t *testing.T) {
	a := newAsking(t, 3)
	a.hear(2, &wire.Register{Node: 2, Secret: session.Key{2}, Name: "second", Pools: []wire.Pool{{Name: "p", Slots: 2}}})
	a.broadcast(wire.Broadcast{})
	a.tick(40 * time.Millisecond)
	a.hear(asker, &wire.Broadcast{Client: askerID, Request: uuid.UUID{1}, Pool: "none", Method: "other", Sessions: true})
	a.answers(1, nil)
	a.hear(3, &wire.Answer{Client: askerID, Request: asked, Members: []wire.Member{{Fate: session.FateFailed, Code: session.ErrMethod}}})
	who := askerID.String()[:8]
	want := []CastStatus{
		{Client: who, Pool: "p", Method: "m", Members: 3, Answered: 1, Other: 1, Age: 0.04, WaitsFor: []string{"second"}},
		{Client: who, Pool: "none", Method: "other", Sessions: true, WaitsFor: []string{}},
	}
	if got := a.core.Status(a.now).Casts; !reflect.DeepEqual(got, want) {
		t.Errorf("it shows\n%+v, want\n%+v", got, want)
	}
	a.hear(asker, &wire.Heard{Client: askerID, Request: asked, Done: true})
	if got := a.core.Status(a.now).Casts; !reflect.DeepEqual(got, want[1:]) {
		t.Errorf("once one is forgotten it shows %+v", got)
	}
}

// However many nodes a broadcast waits for, its status names a few.
func TestBroadcastStatusIsBounded(t *testing.T) {
	a := newAsking(t, 2*waitsMost)
	a.broadcast(wire.Broadcast{})
	if got := a.core.Status(a.now).Casts; len(got) != 1 || got[0].Members != 2*waitsMost || len(got[0].WaitsFor) != waitsMost {
		t.Errorf("it shows %+v", got)
	}
}
