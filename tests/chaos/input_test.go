package chaos

import (
	"math"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// inputCell has a node with slots for strangers, and a bystander whose session
// counts all the while: one call of its that is lost, runs twice or fails would
// show.
func inputCell(t *testing.T) *cell {
	t.Helper()
	c := newCell(t, "RECOVERY=1")
	c.startNode("node", "count,busy", 8)
	bystander(t, c)
	return c
}

func bystander(t *testing.T, c *cell) {
	t.Helper()
	s := open(t, dial(t, c.url), "count")
	var answers, slowest atomic.Int64
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- count(s, stop, &answers, &slowest) }()
	t.Cleanup(func() {
		at := answers.Load()
		eventually(t, "the bystander's session goes on", func() bool { return answers.Load() > at || len(stopped) > 0 })
		close(stop)
		if err := <-stopped; err != nil {
			t.Errorf("the bystander's session: %v", err)
		}
	})
}

// Numbers, acknowledgements, epochs and keys that cannot be: each is answered
// by its code, nothing is run for it, and the session goes on with the number
// that is next.
func TestBadNumbers(t *testing.T) {
	c := inputCell(t)
	s := newStranger(t, c.url)
	h := holderOf(s.open("count"))
	for n := range uint64(5) { // calls 1 to 5 add 1 each, 1 to 3 are acknowledged
		if got := s.ask(callOf(h, n+1, min(n, 3), "add", 1)).number(t); got != int(n)+1 {
			t.Fatalf("call %d returns %d", n+1, got)
		}
	}
	with := func(change func(*wire.Header)) wire.Header { other := h; change(&other); return other }
	for name, test := range map[string]struct {
		env  []byte
		code session.Code
		o    session.Outcome
	}{
		"number 0":                     {callOf(h, 0, 0, "add", 1), session.ErrFuture, session.NotRun},
		"number beyond the window":     {callOf(h, 3+64+1, 3, "add", 1), session.ErrFuture, session.NotRun},
		"the highest number":           {callOf(h, math.MaxUint64, 3, "add", 1), session.ErrFuture, session.NotRun},
		"number that was acknowledged": {callOf(h, 2, 1, "add", 1), session.ErrPast, session.Done},
		"number with another argument": {callOf(h, 5, 3, "add", 7), session.ErrRepeated, session.NotRun},
		"number with another method":   {callOf(h, 5, 3, "get", 1), session.ErrRepeated, session.NotRun},
		"ack of itself":                {callOf(h, 6, 6, "add", 1), session.ErrAcknowledged, session.NotRun},
		"ack of what was never sent":   {callOf(h, 7, 6, "add", 1), session.ErrAcknowledged, session.NotRun},
		"the highest ack":              {callOf(h, 6, math.MaxUint64, "add", 1), session.ErrAcknowledged, session.NotRun},
		"ack as high as the number":    {callOf(h, math.MaxUint64, math.MaxUint64-1, "add", 1), session.ErrFuture, session.NotRun},
		"epoch from the future":        {callOf(with(func(h *wire.Header) { h.Epoch = 9 }), 6, 5, "add", 1), session.ErrEpoch, session.NotRun},
		"the highest epoch":            {callOf(with(func(h *wire.Header) { h.Epoch = math.MaxUint32 }), 6, 5, "add", 1), session.ErrEpoch, session.NotRun},
		"epoch 0":                      {callOf(with(func(h *wire.Header) { h.Epoch = 0 }), 6, 5, "add", 1), session.ErrSessionMoved, session.Unknown},
		"another key":                  {callOf(with(func(h *wire.Header) { h.Key[3] ^= 1 }), 6, 5, "add", 1), session.ErrSessionForeign, session.NotRun},
		"no key":                       {callOf(with(func(h *wire.Header) { h.Key = session.Key{} }), 6, 5, "add", 1), session.ErrSessionForeign, session.NotRun},
		"another session":              {callOf(with(func(h *wire.Header) { h.Session = uuid.New() }), 6, 5, "add", 1), session.ErrSessionUnknown, session.Unknown},
		"another node":                 {callOf(with(func(h *wire.Header) { h.Node ^= 2 }), 6, 5, "add", 1), session.ErrWorkerLost, session.NotRun},
		"no method":                    {callOf(h, 6, 5, "", 1), session.ErrBadMessage, session.NotRun},
		"cancel beyond the window":     {messageOf(h, wire.KindCancel, 1000), session.ErrFuture, session.NotRun},
		"cancel of number 0":           {messageOf(h, wire.KindCancel, 0), session.ErrFuture, session.NotRun},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				s.ask(test.env).want(t, wire.KindFail, test.code, test.o)
			}
		})
	}
	for _, test := range []struct {
		name string
		h    wire.Header
		code session.Code
	}{
		{"close with another key", with(func(h *wire.Header) { h.Key[3] ^= 1 }), session.ErrSessionForeign},
		{"close under an epoch from the future", with(func(h *wire.Header) { h.Epoch = 9 }), session.ErrEpoch},
		{"close under an epoch that is over", with(func(h *wire.Header) { h.Epoch = 0 }), session.ErrSessionMoved},
		{"close of another session", with(func(h *wire.Header) { h.Session = uuid.New() }), session.ErrSessionUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.ask(messageOf(test.h, wire.KindClose, 6)).want(t, wire.KindClosed, test.code, 0)
		})
	}
	if got := s.ask(callOf(h, 5, 3, "add", 1)).number(t); got != 5 {
		t.Errorf("a copy of call 5 returns %d", got)
	}
	if got := s.ask(callOf(h, 6, 5, "add", 1)).number(t); got != 6 {
		t.Errorf("the next call returns %d: something ran", got)
	}
	s.ask(messageOf(h, wire.KindClose, 7)).want(t, wire.KindClosed, 0, 0)
}

// Calls that come before their turn wait for it, however they come.
func TestNumbersOutOfOrder(t *testing.T) {
	c := inputCell(t)
	s := newStranger(t, c.url)
	h := holderOf(s.open("count"))
	for _, n := range []uint64{4, 3, 2, 4} {
		s.send(callOf(h, n, 0, "add", 1))
	}
	s.answered().want(t, wire.KindHeld, 0, 0) // the second copy of 4
	s.send(callOf(h, 1, 0, "add", 1))
	for want := range uint64(4) {
		if a := s.answered(); a.header.Number != want+1 || a.number(t) != int(want)+1 {
			t.Errorf("call %d came as number %d", a.header.Number, want+1)
		}
	}
}

// Tokens that were not given out for that session, and attaches that say too
// little: refused, and the holder notices nothing.
func TestBadTokens(t *testing.T) {
	c := inputCell(t)
	s, thief := newStranger(t, c.url), newStranger(t, c.url)
	h := holderOf(s.open("count"))
	with := func(change func(*wire.Header)) wire.Header { other := h; change(&other); return other }
	for name, test := range map[string]struct {
		env  []byte
		code session.Code
	}{
		"forged key":       {attachOf(with(func(h *wire.Header) { h.Key[0] ^= 1 }), thief.id, 77, ""), session.ErrTokenInvalid},
		"no key":           {attachOf(with(func(h *wire.Header) { h.Key = session.Key{} }), thief.id, 77, ""), session.ErrTokenInvalid},
		"of another pool":  {attachOf(h, thief.id, 77, "busy"), session.ErrTokenInvalid},
		"of no pool":       {attachOf(h, thief.id, 77, "nope"), session.ErrTokenInvalid},
		"unknown session":  {attachOf(with(func(h *wire.Header) { h.Session = uuid.New() }), thief.id, 77, ""), session.ErrSessionUnknown},
		"unknown node":     {attachOf(with(func(h *wire.Header) { h.Node ^= 2 }), thief.id, 77, ""), session.ErrWorkerLost},
		"no number":        {attachOf(h, thief.id, 0, ""), session.ErrBadMessage},
		"no client":        {messageOf(h, wire.KindAttach, 77), session.ErrBadMessage},
		"client cut short": {messageOf(h, wire.KindAttach, 77, thief.id[:15]...), session.ErrBadMessage},
	} {
		t.Run(name, func(t *testing.T) {
			a := thief.ask(test.env)
			a.want(t, wire.KindFail, test.code, a.header.Outcome())
		})
	}
	if got := s.ask(callOf(h, 1, 0, "add", 1)).number(t); got != 1 {
		t.Errorf("the holder's call returns %d", got)
	}
	thief.ask(attachOf(h, thief.id, 78, "count")).want(t, wire.KindAttached, 0, 0) // with all it takes it is his
	s.ask(callOf(h, 2, 1, "add", 1)).want(t, wire.KindExpired, session.ErrSessionMoved, 0)
	s.answered().want(t, wire.KindFail, session.ErrSessionMoved, session.NotRun)
	h.Epoch++
	thief.ask(messageOf(h, wire.KindClose, 2)).want(t, wire.KindClosed, 0, 0)
	thief.ask(attachOf(h, thief.id, 79, "")).want(t, wire.KindFail, session.ErrSessionClosed, session.NotRun)
	h.Key[0] ^= 1
	thief.ask(attachOf(h, thief.id, 80, "")).want(t, wire.KindFail, session.ErrSessionUnknown, session.Unknown)
}

// Tokens as text: what is cut, changed or made up is refused by the client
// itself or by the node, and always as an invalid token.
func TestBadTokenTexts(t *testing.T) {
	c := inputCell(t)
	one, two := dial(t, c.url), dial(t, c.url)
	s := open(t, one, "count")
	token := s.Token()
	forged := session.Token{Node: s.Route().Node, Session: s.ID(), Key: session.Key{1, 2, 3}}.Text()
	texts := map[string]string{"empty": "", "nonsense": "?!", "too long": token + token, "forged whole": forged}
	for n := range len(token) {
		texts["cut to "+token[:n]] = token[:n]
	}
	for name, text := range texts {
		if _, err := two.Attach(t.Context(), text); session.CodeOf(err) != session.ErrTokenInvalid {
			t.Errorf("a token that is %.12s: %v", name, err)
		}
	}
	if _, err := two.Attach(t.Context(), token, client.InPool("busy")); session.CodeOf(err) != session.ErrTokenInvalid {
		t.Errorf("a token of another pool: %v", err)
	}
	if n := mustCall[int](t, s, "add", 1); n != 1 || s.Err() != nil {
		t.Errorf("the holder counts to %d, %v", n, s.Err())
	}
}

// Two clients draw the same request id: each has its own session. One that
// says it is the other, and knows that client's id, is given no second one.
func TestOneRequestOfTwo(t *testing.T) {
	c := inputCell(t)
	one, two, thief := newStranger(t, c.url), newStranger(t, c.url), newStranger(t, c.url)
	request := uuid.New()
	open := func(s *stranger) *wire.Opened {
		s.tell(&wire.Open{Client: s.id, Request: request, Pool: "count"})
		return hearControl[*wire.Opened](s)
	}
	a, b := open(one), open(two)
	if a.Session == b.Session || a.Key == b.Key {
		t.Fatal("two clients were given one session")
	}
	thief.id = one.id
	if again := open(thief); again.Session != a.Session {
		t.Error("a repeated open was given a second session")
	}
	for _, of := range []struct {
		s *stranger
		h wire.Header
	}{{one, holderOf(a)}, {two, holderOf(b)}} {
		if got := of.s.ask(callOf(of.h, 1, 0, "add", 1)).number(t); got != 1 {
			t.Errorf("its first call returns %d", got)
		}
	}
	if p := c.broker.report().pool("count"); p.Open != 3 { // the bystander's among them
		t.Errorf("%d slots are taken, want 3", p.Open)
	}
}

// A client that never acknowledges: it gets as far as its window, and its node
// keeps as many bytes of replies as it may and no more.
func TestNeverAcknowledged(t *testing.T) {
	c := newCell(t, "RECOVERY=1")
	node := c.startNode("node", "count,busy", 8)
	bystander(t, c)
	s := newStranger(t, c.url)
	h := holderOf(s.open("count"))
	before := node.heap()
	const window, size, kept = 64, 1 << 20, session.DefaultBytes
	for n := range uint64(window) {
		if a := s.ask(callOf(h, n+1, 0, "blob", size)); a.header.Kind != wire.KindReply || len(a.body) != size {
			t.Fatalf("call %d: %s, %v, %d bytes", n+1, a.header.Kind, a.header.Code, len(a.body))
		}
	}
	s.ask(callOf(h, window+1, 0, "blob", size)).want(t, wire.KindFail, session.ErrFuture, session.NotRun)
	if a := s.ask(callOf(h, window, 0, "blob", size)); len(a.body) != size {
		t.Errorf("the last reply is not kept: %s, %v", a.header.Kind, a.header.Code)
	}
	a := s.ask(callOf(h, 1, 0, "blob", size)) // done, and too long ago
	if a.header.Kind != wire.KindFail || a.header.Code != session.ErrReplyGone || a.header.Outcome() != session.Done {
		t.Errorf("the first call: %s, %v, %v; want done, reply gone", a.header.Kind, a.header.Code, a.header.Outcome())
	}
	grown := node.heap() - before
	if most := kept + kept/2; grown > most || grown < kept/2 {
		t.Errorf("the node keeps %d MiB more than before, and may keep %d for a session", grown>>20, kept>>20)
	}
	if a := s.ask(callOf(h, window+1, window, "blob", 1)); len(a.body) != 1 {
		t.Errorf("after an acknowledgement: %s, %v", a.header.Kind, a.header.Code)
	}
	t.Logf("%d replies of %d MiB without an acknowledgement: the node keeps %.1f MiB of them", window, size>>20, float64(grown)/(1<<20))
}
