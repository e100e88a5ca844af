package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// pair is a Caller and a Callee with a channel between them that loses,
// doubles and reorders whatever it carries. It checks the contract as it goes.
type pair struct {
	t      *testing.T
	chance *rand.Rand
	now    time.Time
	caller *Caller[string]
	callee *Callee[string]
	frames []frame
	loss   int // percent

	window, maxBytes int

	running  uint64
	ran      []uint64           // numbers in the order in which they ran
	replies  map[uint64]Reply   // what the method returned
	settled  map[uint64]Outcome // how each call ended at the caller
	cancels  map[uint64]bool
	deadline map[uint64]time.Time
}

type frame struct {
	toCallee, cancel bool
	n, ack           uint64
	args             string
	deadline         time.Time
	held             bool
	reply            Reply
	refused          Code
}

func hashed(args string) uint64 {
	h := uint64(1469598103934665603)
	for _, c := range []byte(args) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func (p *pair) send(f frame) {
	for range 1 + p.chance.IntN(2) {
		if p.chance.IntN(100) >= p.loss {
			p.frames = append(p.frames, f)
		}
	}
}

// deliver takes any frame that is under way.
func (p *pair) deliver() {
	i := p.chance.IntN(len(p.frames))
	f := p.frames[i]
	p.frames = slices.Delete(p.frames, i, i+1)
	switch {
	case !f.toCallee:
		p.answered(f)
	case f.cancel:
		p.cancelArrives(f)
	default:
		p.callArrives(f)
	}
}

func (p *pair) callArrives(f frame) {
	verdict, reply, code := p.callee.Arrive(f.n, f.ack, hashed(f.args), len(f.args), f.deadline, f.args)
	switch verdict {
	case Queued:
	case Repeated:
		p.send(frame{n: f.n, held: true})
	case Replayed:
		p.send(frame{n: f.n, reply: reply})
	case Refused:
		if code == ErrRepeated || code == ErrAcknowledged {
			p.t.Fatalf("an honest call %d with ack %d is refused: %v", f.n, f.ack, code)
		}
		p.send(frame{n: f.n, refused: code})
	}
	p.next()
}

func (p *pair) cancelArrives(f frame) {
	if code := p.callee.Ack(f.ack); code != 0 {
		p.t.Fatalf("an honest acknowledgement of %d is refused: %v", f.ack, code)
	}
	switch p.callee.Cancel(f.n, ErrCancelled) {
	case CancelRefused:
		p.t.Fatalf("an honest cancel of %d is refused", f.n)
	case CancelRunning:
		p.send(frame{n: f.n, held: true})
	case CancelBefore, CancelLate:
		if r, ok := p.callee.Stored(f.n); ok {
			p.send(frame{n: f.n, reply: r})
		}
	}
	p.next()
}

// next starts what may start, and looks at everything that is kept.
func (p *pair) next() {
	n, args, ok, expired := p.callee.Next(p.now)
	for _, e := range expired {
		r, stored := p.callee.Stored(e)
		if !stored || r.Outcome != NotRun {
			p.t.Fatalf("expired call %d is kept as %+v, %v", e, r, stored)
		}
		p.send(frame{n: e, reply: r})
	}
	if ok {
		if p.running != 0 {
			p.t.Fatalf("call %d starts while %d runs", n, p.running)
		}
		if len(p.ran) > 0 && n <= p.ran[len(p.ran)-1] {
			p.t.Fatalf("call %d starts after %d", n, p.ran[len(p.ran)-1])
		}
		if want := fmt.Sprint("args of ", n); args[:len(want)] != want {
			p.t.Fatalf("call %d has %q", n, args)
		}
		if d := p.deadline[n]; !d.IsZero() && p.now.After(d) {
			p.t.Fatalf("call %d starts after its deadline", n)
		}
		p.running, p.ran = n, append(p.ran, n)
	}
	if p.callee.Kept() > p.window || p.caller.InFlight() > p.window {
		p.t.Fatalf("%d numbers kept and %d in flight, window %d", p.callee.Kept(), p.caller.InFlight(), p.window)
	}
	if b := p.callee.Bytes(); b < 0 || b > p.maxBytes+2*pairMost {
		p.t.Fatalf("%d bytes kept, bound %d", b, p.maxBytes)
	}
}

// pairMost is the largest argument and reply.
const pairMost = 120

func (p *pair) finish() {
	n := p.running
	r := Reply{Body: []byte(fmt.Sprintf("reply to %d%*s", n, p.chance.IntN(60), ""))}
	p.replies[n], p.running = r, 0
	p.callee.Finish(n, &r)
	p.send(frame{n: n, reply: r})
	p.next()
}

func (p *pair) answered(f frame) {
	switch {
	case f.held:
		p.caller.Postpone(f.n, p.now.Add(RetryMost))
	case f.refused == ErrPast: // an old copy: its call has been settled
		if _, open := p.caller.Get(f.n); open {
			p.t.Fatalf("call %d is in flight and refused as past", f.n)
		}
	case f.refused != 0: // not taken: it will be sent again
	default:
		p.settle(f)
	}
}

func (p *pair) settle(f frame) {
	if _, ok := p.caller.Settle(f.n); !ok {
		return
	}
	if _, twice := p.settled[f.n]; twice {
		p.t.Fatalf("call %d is settled twice", f.n)
	}
	p.settled[f.n] = f.reply.Outcome
	did := slices.Contains(p.ran, f.n)
	switch {
	case did != (f.reply.Outcome == Done):
		p.t.Fatalf("call %d ran: %v, its end is %v %v", f.n, did, f.reply.Code, f.reply.Outcome)
	case f.reply.Code == ErrReplyGone: // done; its bytes had to make room
	case did && string(f.reply.Body) != string(p.replies[f.n].Body):
		p.t.Fatalf("call %d is answered %q, was %q", f.n, f.reply.Body, p.replies[f.n].Body)
	case f.reply.Code == ErrCancelled && !p.cancels[f.n]:
		p.t.Fatalf("call %d is cancelled by nobody", f.n)
	}
}

func (p *pair) begin(deadlines bool) {
	args := fmt.Sprintf("args of %d%*s", p.caller.Next(), p.chance.IntN(60), "")
	n, kept, ok := p.caller.Begin(p.now, len(args))
	if !ok {
		return
	}
	*kept = args
	if deadlines && p.chance.IntN(4) == 0 {
		p.deadline[n] = p.now.Add(time.Duration(p.chance.IntN(3000)) * time.Millisecond)
	}
	p.send(frame{toCallee: true, n: n, ack: p.caller.Ack(), args: args, deadline: p.deadline[n]})
}

func (p *pair) again() {
	p.caller.Overdue(p.now, func(n uint64, args *string) {
		p.send(frame{toCallee: true, cancel: p.cancels[n], n: n, ack: p.caller.Ack(), args: *args, deadline: p.deadline[n]})
	})
}

func (p *pair) cancel() {
	all := p.caller.All()
	if len(all) == 0 {
		return
	}
	n := all[p.chance.IntN(len(all))]
	p.cancels[n] = true
	p.caller.Postpone(n, p.now)
}

func newPair(t *testing.T, seed uint64) *pair {
	t.Helper()
	chance := rand.New(rand.NewPCG(seed, 6))
	window, maxBytes := 1+chance.IntN(20), 100+chance.IntN(1000)
	return &pair{
		t: t, chance: chance, now: time.Unix(1000, 0), window: window, maxBytes: maxBytes, loss: chance.IntN(60),
		caller: NewCaller[string](window, maxBytes, 1), callee: NewCallee[string](window, maxBytes),
		replies: map[uint64]Reply{}, settled: map[uint64]Outcome{}, cancels: map[uint64]bool{}, deadline: map[uint64]time.Time{},
	}
}

// Over a channel that loses, doubles and reorders, every number runs at most
// once and in order, every call settles exactly once with the truth about it,
// what is kept stays bounded, and in the end nothing is.
func TestPairOverABadChannel(t *testing.T) {
	for seed := range uint64(120) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { newPair(t, seed).run() })
	}
}

func (p *pair) run() {
	const calls = 150
	for p.caller.Next() <= calls {
		p.step(true)
	}
	for p.loss = 0; p.caller.InFlight() > 0; {
		p.step(false)
		p.now = p.now.Add(10 * time.Millisecond)
		if p.now.After(time.Unix(100_000, 0)) {
			p.t.Fatalf("%v are never settled: callee's turn %d, running %d", p.caller.All(), p.callee.Turn(), p.callee.Running())
		}
	}
	if len(p.settled) != calls {
		p.t.Fatalf("%d calls settled, want %d", len(p.settled), calls)
	}
	if len(p.ran) == 0 {
		p.t.Fatal("nothing ran")
	}
	if code := p.callee.Ack(p.caller.Ack()); code != 0 || p.callee.Bytes() != 0 || p.callee.Kept() != 0 {
		p.t.Fatalf("after everything is acknowledged: %v, %d bytes and %d numbers kept", code, p.callee.Bytes(), p.callee.Kept())
	}
	if _, due := p.caller.NextDue(); due || p.caller.Ack() != calls {
		p.t.Fatalf("after everything is settled: something is due %v, acknowledged to %d", due, p.caller.Ack())
	}
}

func (p *pair) step(fresh bool) {
	switch k := p.chance.IntN(20); {
	case k < 5 && fresh:
		p.begin(true)
	case k < 12 && len(p.frames) > 0:
		p.deliver()
	case k < 16 && p.running != 0:
		p.finish()
	case k == 16 && fresh:
		p.cancel()
	case k == 17:
		p.now = p.now.Add(time.Duration(p.chance.IntN(1000)) * time.Millisecond)
	case k == 18 && p.chance.IntN(20) == 0:
		p.caller.Hurry(p.now)
	default:
		p.again()
	}
}
