package core

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// answersMost bounds what one envelope of one peer may have sent to that peer.
const answersMost = 8

// cast are the messages that the fuzzer begins with: two peers that know what
// they do, and what a third may make of their ids.
func cast() [][]byte {
	id := func(n byte) uuid.UUID { return uuid.UUID{15: n} }
	live := wire.Live{Client: id(1), Request: id(2), Pool: "p", Session: id(3), Epoch: 1}
	controls := []wire.Control{
		&wire.Hello{Min: 1, Max: 1, Role: wire.RoleClient, ID: id(1)},
		&wire.Register{Node: 7, Name: "n", Pools: []wire.Pool{{Name: "p", Slots: 2}}},
		&wire.Register{Seq: 1, Node: 7, Name: "n", Pools: []wire.Pool{{Name: "p", Slots: 2}}, Live: []wire.Live{live}},
		&wire.Register{Node: 7, Name: "n", More: true, Pools: []wire.Pool{{Name: "p", Slots: 2}}},
		&wire.Open{Client: id(1), Request: id(2), Pool: "p", Notify: true},
		&wire.Withdraw{Client: id(1), Request: id(2)},
		&wire.Accept{Seq: 1, Live: live},
		&wire.Decline{Client: id(1), Request: id(2), Pool: "p", Code: session.ErrOverloaded},
		&wire.Ended{Seq: 2, Session: id(3), Pool: "p", Code: session.ErrSessionClosed},
		&wire.Beat{Seq: 2},
		&wire.Broadcast{Client: id(1), Request: id(4), Pool: "p", Method: "m"},
		&wire.Broadcast{
			Client: id(1), Request: id(5), Pool: "p", Method: "m", Sessions: true, Budget: 50,
			Missing: wire.AppendMember(nil, session.MemberID{Node: 7, Session: id(3)}),
		},
		&wire.Answer{Client: id(1), Request: id(4), Members: []wire.Member{{Fate: session.FateAnswered, Body: []byte{1}}}},
		&wire.Heard{Client: id(1), Request: id(4), Have: 1, Done: true},
		&wire.Opened{Request: id(2), Node: 7, Pool: "p", Session: id(3)},
	}
	var all [][]byte
	for _, m := range controls {
		all = append(all, wire.AppendControl(nil, m))
	}
	h := wire.Header{Node: 7, Session: id(3), Number: 1}
	all = append(all, wire.AppendCall(nil, &h, "m", []byte{1}))
	for _, k := range []wire.Kind{wire.KindCancel, wire.KindClose, wire.KindLease, wire.KindReply, wire.KindFail, wire.KindLeased} {
		all = append(all, (&wire.Header{Kind: k, Node: 7, Via: 1, Session: id(3), Number: 1}).Append(nil))
	}
	return all
}

// script writes steps as the fuzzer varies them: who, a length, the envelope.
func script(steps ...[]byte) []byte {
	var b []byte
	for i, env := range steps {
		b = append(b, byte(i%4))
		b = binary.BigEndian.AppendUint16(b, uint16(len(env)))
		b = append(b, env...)
	}
	return b
}

// FuzzStep plays any sequence of envelopes, breaks and pauses from several
// peers. The core never panics, sends nothing that does not parse, sends
// nobody more than a few answers for one envelope, and keeps its records whole.
func FuzzStep(f *testing.F) {
	all := cast()
	for i, env := range all {
		f.Add(script(env, env, all[(i+1)%len(all)]))
	}
	f.Add(script(all...))
	f.Add(script(all[0], all[1], all[10], all[12], all[11], all[13]))
	f.Add(script(all[1], all[0], all[1], all[4], all[1], all[6], all[2], all[8]))
	f.Fuzz(func(t *testing.T, steps []byte) {
		now := time.Unix(1000, 0)
		c := New(now, Config{ID: uuid.UUID{1}, Peers: 16})
		var fx Effects
		for n := 0; len(steps) >= 3 && n < 200; n++ {
			who, size := steps[0], int(binary.BigEndian.Uint16(steps[1:]))
			steps = steps[3:]
			fx.Reset()
			from := wire.Peer(who%4 + 1)
			switch {
			case who >= 0xf0:
				now = now.Add(time.Duration(size) * time.Millisecond)
				c.Tick(now, &fx)
			case who >= 0xe0:
				c.Gone(now, from, &fx)
			default:
				env := append([]byte(nil), steps[:min(size, len(steps))]...)
				steps = steps[len(env):]
				c.Step(now, from, env, &fx)
				few(t, from, &fx)
			}
			parses(t, &fx)
			c.Status(now)
			if err := c.auditCasts(); err != nil {
				t.Error(err)
			}
		}
	})
}

func few(t *testing.T, to wire.Peer, fx *Effects) {
	t.Helper()
	answers := 0
	for _, out := range fx.Outs {
		if out.To == to {
			answers++
		}
	}
	if answers > answersMost {
		t.Errorf("%d answers to one envelope", answers)
	}
}

func parses(t *testing.T, fx *Effects) {
	t.Helper()
	for _, out := range fx.Outs {
		kind := wire.KindOf(out.Env)
		var err error
		if kind.ToWorker() || kind.ToHolder() {
			if _, _, ok := wire.RouteOf(out.Env); !ok { // the rest is passed on unread
				err = wire.ErrShort
			}
		} else {
			_, err = wire.ParseControl(out.Env)
		}
		if err != nil || out.To == 0 {
			t.Errorf("to %d: %v of %x", out.To, err, out.Env)
		}
	}
}
