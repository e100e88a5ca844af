package core

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// drawn is the request id of the client's first open: chance is fixed.
func drawn() uuid.UUID {
	id, _ := uuid.NewRandomFromReader(rand.NewChaCha8([32]byte{1}))
	return id
}

func cast() [][]byte {
	id := uuid.UUID{15: 3}
	controls := []wire.Control{
		&wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1, Lease: 1000},
		&wire.Opened{Request: drawn(), Node: 7, Pool: "p", Session: id, Epoch: 1},
		&wire.Refused{Request: drawn(), Code: session.ErrRecovering},
		&wire.Refused{Request: drawn(), Code: session.ErrNoWorker},
		&wire.Queued{Request: drawn(), Place: 1},
		&wire.Lost{Node: 7, Sessions: []session.ID{id}, Code: session.ErrWorkerLost},
		&wire.Identify{Broker: uuid.UUID{1}},
		&wire.Error{Code: session.ErrVersion, Of: wire.KindHello},
		&wire.Beat{Reply: true},
		&wire.Answered{Request: drawn(), Broker: uuid.UUID{1}, First: 1, Known: true, Snapshot: wire.AppendMember(nil, session.MemberID{Node: 7})},
		&wire.Answered{Request: drawn(), Broker: uuid.UUID{1}, First: 1, Members: []wire.Member{{Node: 7, Fate: session.FateAnswered}}},
		&wire.Complete{Request: drawn(), Broker: uuid.UUID{1}, Members: 1, Answered: 1},
	}
	var all [][]byte
	for _, m := range controls {
		all = append(all, wire.AppendControl(nil, m))
	}
	for _, k := range wire.Kinds() {
		if k.ToHolder() {
			all = append(all, (&wire.Header{Kind: k, Node: 7, Session: id, Epoch: 1, Number: 1}).Append(nil))
		}
	}
	again := (&wire.Header{Kind: wire.KindLeased, Flags: wire.FlagAgain, Node: 7, Number: 1}).Append(nil)
	unknown := (&wire.Header{Kind: wire.KindLeased, Node: 7, Number: 1}).Append(nil)
	failed := (&wire.Header{Kind: wire.KindFail, Code: session.ErrWorkerLost, Node: 7, Session: id, Number: 2}).Append(nil)
	return append(all, again, append(unknown, id[:]...), failed)
}

// FuzzStep plays any sequence of envelopes from two brokers and a node, of
// pauses, and of what a program may ask for. The core never panics, sends
// nothing that does not parse, answers one envelope with a bounded number of
// others, and ends every open, call and close at most once.
func FuzzStep(f *testing.F) {
	step := func(who byte, env []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{who}, uint16(len(env))), env...)
	}
	do := func(what uint16) []byte { return binary.BigEndian.AppendUint16([]byte{0xd0}, what) }
	all := cast()
	for _, env := range all {
		life := append(do(0), step(0, all[0])...) // open, welcome, opened, two calls, whatever it is, close
		life = append(life, step(0, all[1])...)
		life = append(append(life, do(1)...), do(1)...)
		life = append(life, step(0, env)...)
		life = append(append(life, do(3)...), step(1, env)...)
		f.Add(append(life, 0xf0, 0x20, 0))
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		now := time.Unix(1000, 0)
		p := &program{t: t, core: New(Config{ID: uuid.UUID{15: 1}}, rand.NewChaCha8([32]byte{1})), ended: map[int]bool{}}
		p.core.AddBroker(now, 1, &p.fx)
		p.core.AddBroker(now, 2, &p.fx)
		for n := 0; len(steps) >= 3 && n < 200; n++ {
			who, size := steps[0], int(binary.BigEndian.Uint16(steps[1:]))
			steps = steps[3:]
			p.fx.Reset()
			switch {
			case who >= 0xf0:
				now = now.Add(time.Duration(size) * time.Millisecond)
				p.core.Tick(now, &p.fx)
			case who >= 0xd0:
				p.do(now, size)
			default:
				env := append([]byte(nil), steps[:min(size, len(steps))]...)
				steps = steps[len(env):]
				p.core.Step(now, wire.Peer(who%3+1), env, &p.fx)
				if len(p.fx.Outs) > answersMost {
					t.Errorf("%d envelopes for one", len(p.fx.Outs))
				}
			}
			p.look()
		}
	})
}

// answersMost bounds what one envelope may make a client send: a welcome has
// all its opens sent again.
const answersMost = 250

// program asks for opens, calls and closes, each under a tag of its own.
type program struct {
	t        *testing.T
	core     *Core
	fx       Effects
	tag      int
	sessions []*Session
	openings []*Opening
	casts    []*Cast
	ended    map[int]bool
}

func (p *program) do(now time.Time, what int) {
	p.tag++
	pick := what / 8
	switch {
	case what%8 == 0:
		if o, err := p.core.Open(now, Wish{Pool: "p", Wait: time.Duration(pick) * time.Millisecond}, p.tag, &p.fx); err == nil {
			p.openings = append(p.openings, o)
		}
	case what%8 == 4 && len(p.openings) > 0:
		p.core.Withdraw(now, p.openings[pick%len(p.openings)], &p.fx)
	case what%16 == 2:
		if k, err := p.core.Broadcast(now, Question{Pool: "p", Method: "m"}, p.tag, &p.fx); err == nil {
			p.casts = append(p.casts, k)
		}
	case what%16 == 10 && len(p.casts) > 0:
		p.core.StopCast(p.casts[pick%len(p.casts)], session.ErrDeadline, &p.fx)
	case len(p.sessions) == 0:
	default:
		p.use(now, p.sessions[pick%len(p.sessions)], what%8)
	}
}

func (p *program) look() {
	for _, r := range p.fx.Results {
		tag, ok := r.Tag.(int)
		if !ok || p.ended[tag] {
			p.t.Errorf("%v ends twice, or was never asked for", r.Tag)
		}
		p.ended[tag] = true
		if r.Session != nil {
			p.sessions = append(p.sessions, r.Session)
		}
	}
	for _, a := range p.fx.Answers {
		if tag, ok := a.Tag.(int); !ok || p.ended[tag] && len(p.fx.Results) == 0 {
			p.t.Errorf("%v is told of a member after its end", a.Tag)
		}
	}
	for _, out := range p.fx.Outs {
		kind := wire.KindOf(out.Env)
		var err error
		if kind.ToWorker() {
			var h wire.Header
			var rest []byte
			if h, rest, err = wire.ParseHeader(out.Env); err == nil && kind == wire.KindCall {
				_, _, err = wire.CutMethod(&h, rest)
			}
		} else {
			_, err = wire.ParseControl(out.Env)
		}
		if err != nil || out.To == 0 {
			p.t.Errorf("to %d: %v of %x", out.To, err, out.Env)
		}
	}
}

func (p *program) use(now time.Time, s *Session, what int) {
	switch what {
	case 3:
		p.core.Close(now, s, p.tag, &p.fx)
	case 5:
		p.core.Cancel(now, s, p.tag-1, session.ErrCancelled, &p.fx)
	case 6:
		p.core.Abandon(s, p.tag-1, &p.fx)
	default:
		_ = p.core.Call(now, s, &Ask{Method: "m", Args: []byte{1}, Deadline: now.Add(time.Second), Tag: p.tag}, &p.fx)
	}
}
