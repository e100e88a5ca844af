package core

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// answersMost bounds what one envelope of one peer may have sent to that peer.
const answersMost = 80 // a call may end all those that wait, and the window is 64

// fuzzed is a node, the sessions whose goroutines the fuzzer plays, and the
// first of their keys.
type fuzzed struct {
	core     *Core
	fx       Effects
	starting []*Session
	running  []Run
	aside    []*Errand
	stopping []*Session
}

func newFuzzed(now time.Time) *fuzzed {
	f := &fuzzed{core: New(now, Config{
		Node: 7, Name: "n", Pools: []Pool{{Name: "p", Slots: 3}},
	}, rand.NewChaCha8([32]byte{1}))}
	f.core.AddBroker(now, 1, &f.fx)
	return f
}

// drawn are the id and key of the node's first session: chance is fixed.
func drawn() (id session.ID, key session.Key) {
	chance := rand.NewChaCha8([32]byte{1})
	id, _ = session.NewID(chance)
	key, _ = session.NewKey(chance)
	return id, key
}

func cast() [][]byte {
	client, request := uuid.UUID{15: 1}, uuid.UUID{15: 2}
	id, key := drawn()
	controls := []wire.Control{
		&wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1},
		&wire.Registered{Epoch: 1},
		&wire.Registered{Epoch: 1, Again: true},
		&wire.Offer{Epoch: 1, Client: client, Request: request, Pool: "p"},
		&wire.Revoke{Epoch: 1, Client: client, Request: request, Code: session.ErrWithdrawn},
		&wire.Identify{Broker: uuid.UUID{1}},
		&wire.Beat{Epoch: 1},
		&wire.Cast{Epoch: 1, Client: client, Request: uuid.UUID{15: 3}, Pool: "p", Method: "m"},
		&wire.Cast{Epoch: 1, Client: client, Request: uuid.UUID{15: 4}, Pool: "p", Method: "m", Sessions: []session.ID{id}, Wait: 50},
		&wire.Cast{Epoch: 1, Client: client, Request: uuid.UUID{15: 4}, Pool: "p", Over: true},
		&wire.Hello{Min: 1, Max: 1, Role: wire.RoleClient, ID: client},
	}
	var all [][]byte
	for _, m := range controls {
		all = append(all, wire.AppendControl(nil, m))
	}
	for n := range uint64(3) {
		h := wire.Header{Node: 7, Session: id, Key: key, Epoch: 1, Number: n + 1, Budget: time.Second}
		all = append(all, wire.AppendCall(nil, &h, "m", []byte{1}))
	}
	for _, k := range []wire.Kind{wire.KindCancel, wire.KindClose} {
		all = append(all, (&wire.Header{Kind: k, Node: 7, Session: id, Key: key, Epoch: 1, Number: 2}).Append(nil))
	}
	lease := (&wire.Header{Kind: wire.KindLease, Node: 7, Session: client, Number: 1, Ack: session.Digest(id)}).Append(nil)
	return append(all, lease, append(slices.Clip(lease), id[:]...))
}

func script(who byte, steps ...[]byte) []byte {
	var b []byte
	for _, env := range steps {
		b = append(b, who)
		b = binary.BigEndian.AppendUint16(b, uint16(len(env)))
		b = append(b, env...)
	}
	return b
}

// FuzzStep plays any sequence of envelopes from a broker and strangers, of
// pauses, and of what the sessions' goroutines report. The core never panics,
// sends nothing that does not parse, answers one envelope with a bounded number
// of others, runs one call of a session at a time, and conserves its slots.
func FuzzStep(f *testing.F) {
	all := cast()
	for _, env := range all {
		f.Add(script(1, env, env))
	}
	report := []byte{0xd0, 0, 0}
	life := script(0, all[0], all[1], all[3])
	life = append(life, report...)
	life = append(life, script(0, all[8:]...)...)
	life = append(life, report...)
	life = append(append(life, report...), report...)
	f.Add(life)
	f.Fuzz(func(t *testing.T, steps []byte) {
		now := time.Unix(1000, 0)
		node := newFuzzed(now)
		for n := 0; len(steps) >= 3 && n < 200; n++ {
			who, size := steps[0], int(binary.BigEndian.Uint16(steps[1:]))
			steps = steps[3:]
			node.fx.Reset()
			switch {
			case who >= 0xf0:
				now = now.Add(time.Duration(size) * time.Millisecond)
				node.core.Tick(now, &node.fx)
			case who >= 0xd0:
				node.report(now, size)
			default:
				from := wire.Peer(who%4 + 1)
				env := append([]byte(nil), steps[:min(size, len(steps))]...)
				steps = steps[len(env):]
				node.core.Step(now, from, env, &node.fx)
				node.few(t, from)
			}
			node.look(t)
		}
	})
}

// report plays the goroutine of a session that has something to report.
func (f *fuzzed) report(now time.Time, how int) {
	switch {
	case len(f.starting) > 0:
		s := f.starting[0]
		f.starting = f.starting[1:]
		var failed error
		if how%4 == 3 {
			failed = errors.New("no licence")
		}
		f.core.OpenDone(now, s, failed, &f.fx)
	case len(f.running) > 0:
		r := f.running[0]
		f.running = f.running[1:]
		reply := session.Reply{Body: make([]byte, how%100)}
		if how%8 == 7 {
			reply = session.Reply{Code: session.ErrWorkerPanic}
		}
		if r.Errand != nil {
			f.core.ErrandDone(now, r.Errand, reply, &f.fx)
		} else {
			f.core.Done(now, r.Session, r.Call.Number, &reply, &f.fx)
		}
	case len(f.aside) > 0:
		e := f.aside[0]
		f.aside = f.aside[1:]
		f.core.ErrandDone(now, e, session.Reply{Body: make([]byte, how%100)}, &f.fx)
	case len(f.stopping) > 0:
		s := f.stopping[0]
		f.stopping = f.stopping[1:]
		f.core.Closed(now, s, &f.fx)
	}
}

func (f *fuzzed) few(t *testing.T, to wire.Peer) {
	t.Helper()
	answers := 0
	for _, out := range f.fx.Outs {
		if out.To == to {
			answers++
		}
	}
	if answers > answersMost {
		t.Errorf("%d answers to one envelope", answers)
	}
}

// look collects what is asked for, and checks it.
func (f *fuzzed) look(t *testing.T) {
	t.Helper()
	f.starting = append(f.starting, f.fx.Start...)
	for _, r := range f.fx.Run {
		for _, other := range f.running {
			if other.Session == r.Session {
				t.Errorf("calls %d and %d of one session at once", other.Call.Number, r.Call.Number)
			}
		}
		f.running = append(f.running, r)
	}
	f.aside = append(f.aside, f.fx.Errands...)
	if len(f.aside) > asideMost {
		t.Errorf("%d run on the side lane", len(f.aside))
	}
	if err := f.core.auditErrands(); err != nil {
		t.Error(err)
	}
	for _, s := range f.fx.Stop {
		f.stopping = append(f.stopping, s.Session)
	}
	for _, p := range f.core.pools {
		taken := 0
		for _, s := range p.slots {
			if s != nil {
				taken++
			}
		}
		if taken+len(p.free) != p.Slots || taken != f.core.Held() {
			t.Errorf("%d slots taken, %d free of %d, %d held", taken, len(p.free), p.Slots, f.core.Held())
		}
	}
	for _, out := range f.fx.Outs {
		kind := wire.KindOf(out.Env)
		var err error
		if kind.ToHolder() {
			_, _, err = wire.ParseHeader(out.Env)
		} else {
			_, err = wire.ParseControl(out.Env)
		}
		if err != nil || out.To == 0 {
			t.Errorf("to %d: %v of %x", out.To, err, out.Env)
		}
	}
}
