package core

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Question is what a broadcast asks for.
type Question struct {
	Pool     string
	Method   string
	Args     []byte
	Raw      bool
	Deadline time.Time     // zero: none
	Patience time.Duration // of each member's call: 0 as its method has it, below 0 for ever
	Sessions bool          // of every open session, not of every node
	Wait     time.Duration // for a busy session: 0 for as long as it takes, below 0 not at all
	Trace    wire.Trace    // the span that it is made under, where Valid
}

// Answer is one member of a broadcast that is settled.
type Answer struct {
	Tag    any
	Number uint32 // for Read
	Member wire.Member
}

// Cast is one broadcast that has not ended here. Its answers are numbered by
// the broker that has it; the members tell whether one is new when another
// broker has taken over.
type Cast struct {
	request  uuid.UUID
	tag      any
	ask      wire.Broadcast
	deadline time.Time
	since    time.Time // when it was sent first
	sent     bool
	first    uuid.UUID // the broker that it was sent to first, and under which epoch
	epoch1   uint64
	moved    bool // it was sent to another one
	again    time.Time
	tries    int
	copies   uint32 // that were sent
	number   uint64 // order of asking
	broker   wire.Peer

	id    uuid.UUID // the broker whose numbers these are
	run   uint64    // and of which of its runs
	told  uint32    // the latest try that it has heard
	have  uint32    // the last number that has come
	read  uint32    // that was read
	said  uint32    // that was confirmed
	bytes int       // read and not confirmed
	given int       // answers

	known   bool // the snapshot
	members []session.MemberID
	open    map[session.MemberID]bool // of members, not settled
}

// Confirmed is what a reader has taken by the time that the broker is told.
const (
	confirmEach  = 512
	confirmBytes = 256 << 10
)

// Broadcast asks every member of a pool. Its answers come as Answers with this
// tag, and its end as a Result.
func (c *Core) Broadcast(now time.Time, q Question, tag any, fx *Effects) (*Cast, *session.Error) {
	request, err := c.lots.ID()
	if err != nil {
		return nil, &session.Error{Code: session.ErrOpenFailed, Outcome: session.NotRun, Text: "draw a request id", Cause: err}
	}
	k := &Cast{
		request: request, tag: tag, deadline: q.Deadline, number: c.asked,
		ask: wire.Broadcast{
			Client: c.cfg.ID, Request: request, Pool: q.Pool, Method: q.Method, Args: q.Args, Raw: q.Raw, Sessions: q.Sessions,
			Patience: wire.PatienceMillis(q.Patience), Wait: wire.PatienceMillis(q.Wait),
			Trace: q.Trace.Field(),
		},
	}
	if len(q.Args) > wire.MaxEnvelope/2 {
		return nil, infer(session.ErrTooLarge, session.NotRun, 0, "argument of %d bytes, at most %d with a broadcast", len(q.Args), wire.MaxEnvelope/2)
	}
	if err := k.ask.Check(); err != nil {
		return nil, &session.Error{Code: session.ErrBadMessage, Outcome: session.NotRun, Text: err.Error()}
	}
	c.casts[request] = k
	c.asked++
	c.askCast(now, k, fx)
	return k, nil
}

// askCast sends a broadcast, and says when to send it again.
func (c *Core) askCast(now time.Time, k *Cast, fx *Effects) {
	k.again = now.Add(min(session.RetryFirst<<min(k.tries, 8), session.RetryMost))
	if !c.there(k.broker) {
		for _, b := range c.order {
			if b.welcomed {
				k.broker = b.peer
				break
			}
		}
	}
	if !c.there(k.broker) {
		return
	}
	k.tries++
	if k.sent {
		k.ask.Since = max(wire.Millis(now.Sub(k.since)), 1)
	} else {
		k.sent, k.since, k.ask.Since = true, now, 0
		k.first, k.epoch1 = c.brokers[k.broker].id, c.brokers[k.broker].epoch
	}
	if b := c.brokers[k.broker]; b.id != k.first || b.epoch != k.epoch1 {
		k.moved = true
	}
	if !k.deadline.IsZero() {
		k.ask.Budget = max(wire.Millis(k.deadline.Sub(now)), 1)
	}
	k.ask.Broker, k.ask.Run, k.ask.Have = k.id, k.run, k.read
	k.ask.Try = k.copies
	k.copies++
	k.said, k.bytes = k.read, 0
	k.ask.Missing = k.ask.Missing[:0]
	for _, id := range k.members {
		if k.open[id] {
			k.ask.Missing = wire.AppendMember(k.ask.Missing, id)
		}
	}
	fx.Control(k.broker, &k.ask)
}

// watchCasts repeats what was not answered.
func (c *Core) watchCasts(now time.Time, fx *Effects) {
	for _, k := range c.castsInOrder() {
		if !now.Before(k.again) {
			c.askCast(now, k, fx)
		}
	}
}

func (c *Core) castsInOrder() []*Cast {
	return slices.SortedFunc(maps.Values(c.casts), func(a, b *Cast) int {
		return cmp.Or(cmp.Compare(a.number, b.number), slices.Compare(a.request[:], b.request[:]))
	})
}

// answered takes what a broker tells of members. Whoever it is about that is
// over here is confirmed, so that the broker forgets it.
func (c *Core) answered(now time.Time, b *broker, m *wire.Answered, fx *Effects) {
	k := c.casts[m.Request]
	switch {
	case k == nil:
		fx.Control(b.peer, &wire.Heard{Client: c.cfg.ID, Request: m.Request, Done: true})
		return
	case k.id == m.Broker && k.run == m.Run:
	case k.id != uuid.Nil && m.Try <= k.told:
		return // said before the one whose numbers these are was asked
	default: // another broker has taken it, or this one anew
		k.id, k.run = m.Broker, m.Run
		k.have, k.read, k.said, k.bytes = m.Base, m.Base, m.Base, 0
	}
	k.told = max(k.told, m.Try)
	k.again, k.tries = now.Add(session.RetryMost), 0
	if m.Known && !k.known {
		k.snapshot(wire.UnpackMembers(m.Snapshot))
	}
	if !k.known || m.First > k.have+1 { // what came before was lost
		k.again = now.Add(recoverAgain)
		return
	}
	for i := range m.Members {
		if number := m.First + uint32(i); number == k.have+1 {
			k.have = number
			c.settled(k, number, m.Members[i], fx)
		}
	}
	if len(k.open) == 0 {
		c.endCast(k, nil, fx)
	}
}

func (k *Cast) snapshot(members []session.MemberID) {
	k.known, k.members, k.open = true, members, make(map[session.MemberID]bool, len(members))
	for _, id := range members {
		k.open[id] = true
	}
}

// settled hands one answer over, if it is new.
func (c *Core) settled(k *Cast, number uint32, m wire.Member, fx *Effects) {
	id := session.MemberID{Node: m.Node, Session: m.Session}
	if !k.open[id] {
		if k.read == number-1 {
			k.read = number
		}
		return
	}
	delete(k.open, id)
	k.given++
	fx.Answers = append(fx.Answers, Answer{Tag: k.tag, Number: number, Member: m})
}

// completed takes that all are settled: if not here, something was lost.
func (c *Core) completed(now time.Time, b *broker, m *wire.Complete, fx *Effects) {
	if k := c.casts[m.Request]; k != nil {
		k.again = now.Add(recoverAgain)
		return
	}
	fx.Control(b.peer, &wire.Heard{Client: c.cfg.ID, Request: m.Request, Done: true})
}

// Read notes that an answer of so many bytes was taken by whoever reads them:
// there is room for more.
func (c *Core) Read(k *Cast, number uint32, size int, fx *Effects) {
	if c.casts[k.request] != k || number <= k.read || number > k.have {
		return
	}
	k.read = number
	k.bytes += size
	if (k.read-k.said >= confirmEach || k.bytes >= confirmBytes) && c.there(k.broker) {
		k.said, k.bytes = k.read, 0
		fx.Control(k.broker, &wire.Heard{Client: c.cfg.ID, Request: k.request, Broker: k.id, Run: k.run, Have: k.read})
	}
}

// refusedCast takes a broker's no. Of one that has begun, members may have run
// it: it is asked for until its deadline.
func (c *Core) refusedCast(now time.Time, b *broker, m *wire.Refused, fx *Effects) {
	k := c.casts[m.Request]
	switch {
	case k == nil || k.broker != b.peer:
	case k.known:
		k.again, k.tries = now.Add(recoverAgain), 0
	case m.Code.Retryable():
		k.again, k.tries, k.sent = now.Add(recoverAgain), 0, k.moved // nothing was kept of it
	case m.Code == session.ErrDraining:
		k.again, k.sent = now.Add(recoverAgain), k.moved // the next one at that address will take it
		for _, other := range c.order {
			if other != b && other.welcomed {
				k.broker = other.peer
				break
			}
		}
	default:
		c.endCast(k, &session.Error{Code: m.Code, Outcome: session.NotRun, Text: m.Text, Remote: true}, fx)
	}
}

// StopCast ends a broadcast before its end: with ErrDeadline every member that
// is known and not settled has that fate, and with any other code it ends with
// an error. Nothing happens for one that has ended.
func (c *Core) StopCast(k *Cast, why session.Code, fx *Effects) {
	if c.casts[k.request] != k {
		return
	}
	if !k.known || why != session.ErrDeadline {
		e := infer(why, session.Unknown, 0, "%d of %d members are not settled", len(k.open), len(k.members))
		if !k.sent {
			e = infer(why, session.NotRun, 0, "it was never sent")
		}
		c.endCast(k, e, fx)
		return
	}
	body := wire.AppendFailure(nil, "no broker has said what became of it in time", "")
	for _, id := range k.members {
		if k.open[id] {
			m := wire.Member{Node: id.Node, Session: id.Session, Fate: session.FateDeadline, Code: session.ErrDeadline, Body: body}
			k.given++
			fx.Answers = append(fx.Answers, Answer{Tag: k.tag, Member: m})
		}
	}
	c.endCast(k, nil, fx)
}

func (c *Core) endCast(k *Cast, why *session.Error, fx *Effects) {
	delete(c.casts, k.request)
	if k.sent && c.there(k.broker) {
		fx.Control(k.broker, &wire.Heard{Client: c.cfg.ID, Request: k.request, Broker: k.id, Run: k.run, Have: k.have, Done: true})
	}
	fx.Results = append(fx.Results, Result{Tag: k.tag, Err: why, Answers: k.given})
}

// Members is how many the snapshot has; known is false while it has not come.
func (k *Cast) Members() (n int, known bool) { return len(k.members), k.known }

// Request is its id.
func (k *Cast) Request() uuid.UUID { return k.request }

// String is for logs.
func (k *Cast) String() string {
	return fmt.Sprintf("broadcast %s of %q in pool %q", k.request, k.ask.Method, k.ask.Pool)
}
