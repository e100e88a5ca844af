package tests

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// listenStranger is a ROUTER that plays a broker; it answers whoever spoke
// last.
func listenStranger(t testing.TB) (*stranger, string) {
	t.Helper()
	s := newStranger(t, zmq.ROUTER, func(s *zmq.Socket) error { return s.Bind("tcp://127.0.0.1:*") })
	url, err := s.socket.GetLastEndpoint()
	if err != nil {
		t.Fatal(err)
	}
	return s, url
}

var impostor = uuid.New()

func welcome() *wire.Welcome {
	return &wire.Welcome{Version: 1, Broker: impostor, Name: "impostor", Epoch: 1, Beat: 1000, Misses: 3, Lease: 10_000, MaxBody: wire.MaxEnvelope}
}

// forSomebodyElse tells of the malformed messages those that are wrong for a
// broker only: another peer may know such a kind.
func forSomebodyElse(name string) bool { return contains(name, "from outside") }

// A node whose second broker says nothing but nonsense: the node answers with
// codes, works for the impostor as soon as it behaves, and for its first
// broker all the while.
func TestMalformedToANode(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	bad, url := listenStranger(t)
	y := newTally("tally", 3)
	c.serve(t, worker.Options{Broker: c.url + "," + url}, y.pool)
	r := bystander(t, c.dial(t), "tally").Route()
	hearControl[*wire.Hello](bad)
	bad.tell(welcome())
	reg := hearControl[*wire.Register](bad)
	bad.tell(&wire.Registered{Epoch: 1, Seq: reg.Seq})

	for name, m := range malformed() {
		if forSomebodyElse(name) || name == "reply of nobody's" {
			continue
		}
		bad.send(m.frames...)
		want := m.want
		for {
			env := bad.hear()
			if k := wire.KindOf(env); k == wire.KindBeat || k == wire.KindHello || k == wire.KindRegister {
				continue
			}
			if wire.KindOf(env) == wire.KindFail {
				t.Errorf("%s: answered by a fail", name)
				break
			}
			e, err := wire.ParseControl(env)
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := e.(*wire.Error); ok && e.Code != want && e.Code != session.ErrKindUnknown {
				t.Errorf("%s: answered %v, want %v", name, e.Code, want)
			}
			break
		}
	}
	for _, m := range []wire.Control{
		&wire.Opened{Request: uuid.New(), Session: uuid.New(), Node: r.Node, Pool: "tally"}, &wire.Lost{Node: r.Node, Code: session.ErrWorkerLost},
		&wire.Refused{Request: uuid.New(), Code: session.ErrOverloaded}, &wire.Queued{Request: uuid.New()}, register(r.Node, "tally", 1),
		&wire.Open{Client: uuid.New(), Request: uuid.New(), Pool: "tally"}, &wire.Ended{Session: r.Session, Code: session.ErrSessionClosed},
	} {
		bad.tell(m)
		if e := hearControl[*wire.Error](bad); e.Code != session.ErrKindUnknown || e.Of != m.Kind() {
			t.Errorf("%s: answered %v of %v, want unknown message kind", m.Kind(), e.Code, e.Of)
		}
	}
	for _, k := range []wire.Kind{wire.KindReply, wire.KindFail, wire.KindExpired} {
		bad.send(frame(sessionMessage(wire.Header{Kind: k, Node: r.Node, Session: r.Session, Epoch: 1})))
		if e := hearControl[*wire.Error](bad); e.Code != session.ErrKindUnknown {
			t.Errorf("%s: answered %v, want unknown message kind", k, e.Code)
		}
	}
	// Its claims: a session of the other broker's without its key, an unknown
	// pool, an epoch that is over, a revoke of what was never offered.
	bad.send(frame(callMessage(wire.Header{Node: r.Node, Session: r.Session, Epoch: r.Epoch, Number: 1}, "add", 100)))
	if h, _ := bad.hearHeader(wire.KindFail); h.Code != session.ErrSessionForeign {
		t.Errorf("a call without the key: %v, want session of somebody else", h.Code)
	}
	nope := wire.Offer{Epoch: 5, Client: uuid.New(), Request: uuid.New(), Pool: "nope"}
	bad.tell(&nope)
	if d := hearControl[*wire.Decline](bad); d.Code != session.ErrPoolUnknown || d.Request != nope.Request {
		t.Errorf("offer of an unknown pool: %v", d.Code)
	}
	bad.tell(&wire.Revoke{Epoch: 5, Client: uuid.New(), Request: uuid.New(), Code: session.ErrWithdrawn})
	offer := wire.Offer{Epoch: 5, Client: uuid.New(), Request: uuid.New(), Pool: "tally"}
	bad.tell(&offer)
	var a *wire.Accept
	for a == nil || a.Live.Request != offer.Request { // it is told of all sessions
		a = hearControl[*wire.Accept](bad)
	}
	bad.tell(&wire.Revoke{Epoch: 5, Client: offer.Client, Request: offer.Request, Code: session.ErrWithdrawn})
	hearControl[*wire.Ended](bad)
	bad.tell(&wire.Offer{Epoch: 4, Client: uuid.New(), Request: uuid.New(), Pool: "tally"})
	if e := hearControl[*wire.Error](bad); e.Code != session.ErrEpoch || e.Epoch != 5 {
		t.Errorf("an offer under an epoch that is over: %v, epoch %d", e.Code, e.Epoch)
	}
	eventually(t, "only the bystander's slot is taken", func() bool { return c.pool(t, "tally").Free == 2 })
}

// A client whose second broker says nothing but nonsense.
func TestMalformedToAClient(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	c.serve(t, worker.Options{}, newTally("tally", 1).pool)
	bad, url := listenStranger(t)
	cl := dial(t, c.url+","+url)
	r := bystander(t, cl, "tally").Route()
	hearControl[*wire.Hello](bad)
	bad.tell(welcome())
	for name, m := range malformed() {
		if forSomebodyElse(name) || name == "reply of nobody's" {
			continue
		}
		bad.send(m.frames...)
		if e := hearControl[*wire.Error](bad); e.Code != m.want && e.Code != session.ErrBadMessage && e.Code != session.ErrKindUnknown {
			t.Errorf("%s: answered %v, want %v", name, e.Code, m.want)
		}
	}
	// Answers to what was never asked.
	bad.tell(&wire.Opened{Request: uuid.New(), Session: uuid.New(), Node: r.Node, Pool: "tally", Epoch: 1})
	hearControl[*wire.Withdraw](bad)
	bad.tell(&wire.Refused{Request: uuid.New(), Code: session.ErrOverloaded})
	bad.tell(&wire.Queued{Request: uuid.New(), Place: 1})
	bad.tell(&wire.Lost{Node: r.Node ^ 2, Sessions: []session.ID{r.Session}, Code: session.ErrWorkerLost})
	for _, k := range []wire.Kind{wire.KindReply, wire.KindFail, wire.KindHeld, wire.KindClosed, wire.KindExpired, wire.KindLeased} {
		for _, h := range []wire.Header{{Node: r.Node ^ 2, Session: r.Session, Number: 1}, {Node: r.Node, Session: uuid.New(), Number: 1}} {
			h.Kind, h.Code = k, session.ErrSessionExpired
			bad.send(frame(sessionMessage(h, 1, 2, 3)))
		}
	}
	bad.tell(register(1, "x", 1))
	if e := hearControl[*wire.Error](bad); e.Code != session.ErrKindUnknown || e.Of != wire.KindRegister {
		t.Errorf("register: answered %v of %v, want unknown message kind", e.Code, e.Of)
	}
}

// A broker that speaks no version in common, or talks nonsense, is named by
// Dial; its text is what the user sees.
func TestDialARefusingBroker(t *testing.T) {
	noLeaks(t)
	bad, url := listenStranger(t)
	ended := make(chan error, 1)
	go func() {
		cl, err := client.Dial(context.Background(), url, client.WithLogger(quiet()))
		if err == nil {
			err = errors.Join(errors.New("it was welcome"), cl.Close())
		}
		ended <- err
	}()
	hearControl[*wire.Hello](bad)
	bad.send([]byte("nonsense"))
	hearControl[*wire.Error](bad)
	bad.tell(&wire.Error{Code: session.ErrVersion, Of: wire.KindHello, Text: "we speak 7 to 9 here"})
	if err := await(t, ended, "the end of Dial"); !errors.Is(err, session.ErrVersion) || !contains(err.Error(), "7 to 9") {
		t.Errorf("dial ended with %v, want no version in common", err)
	}
}

// A call that travels with its open may have run by the time its caller gives
// up: only the broker can say that it has not, and until it does nobody knows.
func TestGivenUpFirstCall(t *testing.T) {
	noLeaks(t)
	bad, url := listenStranger(t)
	dialled := make(chan *client.Client, 1)
	go func() { dialled <- dial(t, url) }()
	hearControl[*wire.Hello](bad)
	bad.tell(welcome())
	cl := await(t, dialled, "the client")
	for _, test := range []struct {
		name   string
		answer func(request uuid.UUID) wire.Control // nil: none
		want   session.Outcome
	}{
		{"the broker took it back in time", func(r uuid.UUID) wire.Control {
			return &wire.Refused{Request: r, Code: session.ErrWithdrawn}
		}, session.NotRun},
		{"the broker had offered it", func(r uuid.UUID) wire.Control {
			return &wire.Refused{Request: r, Code: session.ErrWithdrawn, Unknown: true}
		}, session.Unknown},
		{"the broker says nothing", nil, session.Unknown},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := cl.OpenCall(ctx, "tally", "add", 1, nil)
			ended <- err
		}()
		open := hearControl[*wire.Open](bad)
		cancel()
		hearControl[*wire.Withdraw](bad)
		if test.answer != nil {
			bad.tell(test.answer(open.Request))
		}
		err := await(t, ended, "the end of the open")
		if e, ok := errors.AsType[*session.Error](err); !ok || e.Outcome != test.want || e.Code != session.ErrCancelled {
			t.Errorf("%s: %v, want cancelled, %v", test.name, err, test.want)
		}
	}
}
