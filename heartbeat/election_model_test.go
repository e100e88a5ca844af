package heartbeat

import (
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A hall is a cell in which nothing but the election happens: candidates, the
// lock, the post between them, and kills, in rounds of one tick each. In a round
// every candidate that runs reads its notes and ticks, in an order that may be
// changed. Judged is what nobody in the hall can see.
type hall struct {
	seats  []seat
	owner  int    // who has the lock, -1: nobody
	record Holder // as the lock's file says
	mail   []letter
	orders []order
	round  int

	pairs   bool
	led     map[uint64]int // epoch: who led under it
	kills   int
	trouble string // the first broken promise
}

type seat struct {
	e       *Election
	alive   bool
	stopped bool
	leads   uint64 // 0: it is no master
	voted   Holder // the last that it accused, and when
	votedAt int

	// of this round only
	mute, deaf, skip, blind, slow bool
}

type letter struct {
	to   int
	note Note
}

type order struct {
	by   int
	kill Kill
}

const (
	modelTick  = 10 * time.Millisecond
	modelLimit = 4 * modelTick
)

func newHall(n int, pairs bool) *hall {
	h := &hall{owner: -1, led: map[uint64]int{}, pairs: pairs}
	for i := range n {
		e := NewElection(at(0), ElectionConfig{Self: Candidate(i + 1), Limit: modelLimit, Tick: modelTick, PairKills: pairs})
		h.seats = append(h.seats, seat{e: e, alive: true, votedAt: -1000})
	}
	return h
}

func (h *hall) now() time.Time { return at(time.Duration(h.round) * modelTick) }

func (h *hall) failf(format string, args ...any) {
	if h.trouble == "" {
		h.trouble = fmt.Sprintf("round %d: ", h.round) + fmt.Sprintf(format, args...)
	}
}

// roster are the candidates that live, stopped or not, as the cell records them.
func (h *hall) roster() (list []Candidate) {
	for i := range h.seats {
		if h.seats[i].alive {
			list = append(list, Candidate(i+1))
		}
	}
	return list
}

// play lets one round pass; those before the others come first.
func (h *hall) play(before int) {
	h.round++
	mail := h.mail
	h.mail = nil
	for k := range h.seats {
		i := (k + before) % len(h.seats)
		s := &h.seats[i]
		if s.stopped && s.alive || s.skip && s.alive { // what comes meanwhile waits in the socket
			for _, l := range mail {
				if l.to == i && !s.deaf {
					h.mail = append(h.mail, l)
				}
			}
			continue
		}
		if s.alive {
			h.turn(i, mail)
		}
	}
	for i := range h.seats {
		s := &h.seats[i]
		s.mute, s.deaf, s.skip, s.blind, s.slow = false, false, false, false, false
	}
}

// turn is one round of one candidate, as package broker/cell runs it.
func (h *hall) turn(i int, mail []letter) {
	s := &h.seats[i]
	var a Acts
	step := func(f func()) {
		a.Reset()
		f()
		h.carryOut(i, &a, 0)
	}
	step(func() { s.e.Roster(h.roster()) })
	h.executeOrders(i)
	if w := s.e.holder; w != (Holder{}) && s.e.role != Master && !h.seats[w.Candidate-1].alive {
		step(func() { s.e.Exited(h.now(), w, &a) })
	}
	read := func() {
		for _, l := range mail {
			if l.to == i && !s.deaf {
				step(func() { s.e.Hear(h.now(), l.note, &a) })
			}
		}
	}
	if !s.blind {
		read()
	}
	step(func() { s.e.Tick(h.now(), &a) })
	if s.blind {
		read()
	}
}

func (h *hall) carryOut(i int, a *Acts, depth int) {
	s := &h.seats[i]
	if depth > 8 {
		h.failf("%d asks for ever", i+1)
		return
	}
	again := func(f func(a *Acts)) {
		var next Acts
		f(&next)
		h.carryOut(i, &next, depth+1)
	}
	if a.Yield != "" {
		s.leads = 0
	}
	if a.Cast {
		h.post(i, a.Note)
	}
	if a.Kill != nil {
		h.judgeKill(i, *a.Kill)
		h.orders = append(h.orders, order{i, *a.Kill})
	}
	if a.Try {
		again(func(n *Acts) { h.try(i, n) })
	}
	if a.Look && h.record.Candidate != 0 && h.owner == int(h.record.Candidate-1) {
		again(func(n *Acts) { s.e.Held(h.now(), h.record, n) })
	}
	if a.Doubt != nil {
		again(func(n *Acts) { h.doubt(i, *a.Doubt, n) })
	}
	if a.Lead != 0 {
		if other, taken := h.led[a.Lead]; taken && other != i {
			h.failf("%d and %d are masters of epoch %d", i+1, other+1, a.Lead)
		}
		h.led[a.Lead], s.leads = i, a.Lead
	}
}

func (h *hall) try(i int, n *Acts) {
	s := &h.seats[i]
	switch {
	case h.owner < 0:
		h.owner = i
		h.record = Holder{Candidate(i + 1), max(h.record.Epoch, s.e.Epoch()) + 1}
		s.e.Took(h.now(), h.record.Epoch, n)
	case h.owner == int(h.record.Candidate-1):
		s.e.Held(h.now(), h.record, n)
	}
}

func (h *hall) doubt(i int, d Doubt, n *Acts) {
	s := &h.seats[i]
	switch {
	case h.owner != i:
		s.e.Lost(h.now(), "the lock is another's", n)
	case d.Above >= s.leads:
		h.record = Holder{Candidate(i + 1), max(d.Above, h.record.Epoch) + 1}
		s.e.Sure(h.record.Epoch, n)
	default:
		s.e.Sure(s.leads, n)
	}
}

func (h *hall) post(i int, note Note) {
	s := &h.seats[i]
	if note.Accused != (Holder{}) {
		s.voted, s.votedAt = note.Accused, h.round
	}
	if s.mute {
		return
	}
	for to := range h.seats {
		if to != i && h.seats[to].alive {
			h.mail = append(h.mail, letter{to, note})
		}
	}
}

// freshRounds is for how long a vote may be counted after it was said: it
// stands that long, and its last letter may have waited for a round or three.
const freshRounds = 3 + 3

// judgeKill looks whether those who are counted have really voted.
func (h *hall) judgeKill(i int, k Kill) {
	jury, votes := 0, 0
	for c := range h.seats {
		s := &h.seats[c]
		if !s.alive || Candidate(c+1) == k.Holder.Candidate {
			continue
		}
		jury++
		if s.voted == k.Holder && h.round-s.votedAt <= freshRounds {
			votes++
		} else if c == i {
			h.failf("%d kills without a vote of its own", i+1)
		}
	}
	if 2*votes <= jury {
		h.failf("%d kills %v by %d votes of %d", i+1, k.Holder, votes, jury)
	}
	if jury < 2 && !h.pairs {
		h.failf("%d of a pair kills", i+1)
	}
}

// executeOrders carries a candidate's kills out, as the runtime does: not too
// late, and not where the lock is another's by now.
func (h *hall) executeOrders(i int) {
	h.orders = slices.DeleteFunc(h.orders, func(o order) bool {
		switch {
		case o.by != i:
			return false
		case h.now().After(o.kill.Until):
			return true
		case h.seats[i].slow:
			return false
		}
		if h.owner >= 0 && h.record == o.kill.Holder && h.owner == int(h.record.Candidate-1) {
			h.kills++
			h.die(h.owner)
		}
		return true
	})
}

func (h *hall) die(i int) {
	if h.seats[i].alive = false; h.owner == i {
		h.owner = -1
	}
	h.seats[i].leads = 0
}

// settled reports that a running master leads, by the lock, and no other one
// does.
func (h *hall) settled() bool {
	for i := range h.seats {
		s := &h.seats[i]
		if s.leads != 0 && s.alive && !s.stopped && i != h.owner {
			return false
		}
	}
	return h.owner >= 0 && !h.seats[h.owner].stopped && h.seats[h.owner].leads != 0
}

// able reports whether a master is due: somebody runs, and where the lock is
// held by one who is stopped, a majority of the others does.
func (h *hall) able() bool {
	running, jury := 0, 0
	for i := range h.seats {
		s := &h.seats[i]
		if !s.alive || i == h.owner {
			continue
		}
		if jury++; !s.stopped {
			running++
		}
	}
	switch {
	case h.owner < 0:
		return running > 0
	case !h.seats[h.owner].stopped:
		return true
	}
	return 2*running > jury && (jury > 1 || h.pairs)
}

// boundRounds is within how many rounds there is a master again once nothing
// more happens: the limit, and what it takes to notice, to vote, to wait for
// a lower voter that has stopped since, to kill and to take.
const boundRounds = int(modelLimit/modelTick) + 12

// rest lets the hall go on without faults and judges what comes of it.
func (h *hall) rest() (rounds int) {
	for rounds = 0; rounds < boundRounds && h.trouble == ""; rounds++ {
		if h.settled() {
			break
		}
		h.play(0)
	}
	switch {
	case h.trouble != "":
	case h.able() && !h.settled():
		h.failf("no master after %d quiet rounds: %s", rounds, h)
	case !h.able():
		before := h.kills
		for range boundRounds {
			h.play(0)
		}
		if rounds = 0; h.kills > before {
			h.failf("a minority kills: %s", h)
		}
	}
	return rounds
}

func (h *hall) String() string {
	text := fmt.Sprintf("lock %d %v;", h.owner+1, h.record)
	for i := range h.seats {
		s := &h.seats[i]
		text += fmt.Sprintf(" %d:%v", i+1, s.e.role)
		if s.stopped {
			text += " stopped"
		}
		if !s.alive {
			text += " dead"
		}
	}
	return text
}

func (h *hall) clone() *hall {
	c := *h
	c.seats, c.mail, c.orders, c.led = slices.Clone(h.seats), slices.Clone(h.mail), slices.Clone(h.orders), maps.Clone(h.led)
	for i := range c.seats {
		e := *c.seats[i].e
		pacer := *e.pacer
		e.roster, e.votes, e.pacer = slices.Clone(e.roster), maps.Clone(e.votes), &pacer
		c.seats[i].e = &e
	}
	return &c
}

// key is all of a hall that decides what can come of it; times count back from
// now, epochs from the lock's.
func (h *hall) key() string {
	var b []byte
	num := func(n int64) { b = binary.AppendVarint(b, n) }
	when := func(t time.Time) {
		if t.IsZero() {
			num(-999)
			return
		}
		num(int64(max(min(h.now().Sub(t), 20*modelLimit), -20*modelLimit) / time.Millisecond))
	}
	epoch := func(e uint64) { num(int64(h.record.Epoch) - int64(e)) }
	holder := func(o Holder) { num(int64(o.Candidate)); epoch(o.Epoch) }
	flag := func(f ...bool) {
		for _, set := range f {
			b = append(b, map[bool]byte{false: 0, true: 1}[set])
		}
	}
	note := func(n *Note) {
		num(int64(n.From))
		epoch(n.Epoch)
		holder(n.Accused)
		flag(n.Master, n.Unable)
	}
	num(int64(h.owner))
	holder(h.record)
	for i := range h.seats {
		s := &h.seats[i]
		flag(s.alive, s.stopped)
		if !s.alive {
			continue
		}
		num(int64(min(h.round-s.votedAt, 50)))
		holder(s.voted)
		epoch(s.leads)
		electionKey(s.e, num, when, epoch, holder, flag)
	}
	for i := range h.mail {
		num(int64(h.mail[i].to))
		note(&h.mail[i].note)
	}
	for _, o := range h.orders {
		num(int64(o.by))
		holder(o.kill.Holder)
		when(o.kill.Until)
	}
	return string(b)
}

func electionKey(e *Election, num func(int64), when func(time.Time), epoch func(uint64), holder func(Holder), flag func(...bool)) {
	num(int64(e.role))
	epoch(e.epoch)
	holder(e.holder)
	holder(e.gone)
	flag(e.unable, e.found, e.late)
	when(e.heard)
	when(e.killed)
	when(e.sure)
	when(e.ticked)
	when(e.pacer.next)
	num(int64(e.pacer.interval))
	for _, c := range e.roster {
		if v, ok := e.votes[c]; ok {
			num(int64(c))
			when(v.at)
			flag(v.unable)
		}
	}
	num(-1)
}

// A move is what befalls the hall before a round; who is a candidate's number
// or, for some, nobody's.
type move struct {
	name string
	do   func(h *hall, who int) bool // false: it makes no difference
}

// moves are all that may befall one candidate. Each costs one of the budget.
func moves() []move {
	of := func(f func(h *hall, s *seat) bool) func(*hall, int) bool {
		return func(h *hall, who int) bool { return h.seats[who].alive && f(h, &h.seats[who]) }
	}
	up := func(f func(s *seat)) func(*hall, int) bool {
		return of(func(_ *hall, s *seat) bool { ran := !s.stopped; f(s); return ran })
	}
	return []move{
		{"stops", up(func(s *seat) { s.stopped = true })},
		{"goes on", of(func(_ *hall, s *seat) bool { was := s.stopped; s.stopped = false; return was })},
		{"dies", func(h *hall, who int) bool { was := h.seats[who].alive; h.die(who); return was }},
		{"is not heard", up(func(s *seat) { s.mute = true })},
		{"hears nothing", of(func(_ *hall, s *seat) bool { s.deaf = true; return true })},
		{"is late", up(func(s *seat) { s.skip = true })},
		{"ticks before it reads", up(func(s *seat) { s.blind = true })},
		{"is slow to kill", of(func(h *hall, s *seat) bool { s.slow = true; return len(h.orders) > 0 })},
		{"lets go of the lock", func(h *hall, who int) bool {
			s := &h.seats[who]
			if h.owner != who || s.stopped {
				return false
			}
			h.owner, s.leads = -1, 0
			var a Acts
			s.e.Resign(h.now(), &a)
			h.carryOut(who, &a, 0)
			return true
		}},
		{"loses the lock to a thief", func(h *hall, who int) bool {
			if h.owner != who {
				return false
			}
			h.owner = -1
			return true
		}},
	}
}

var (
	electionDepth  = flag.Int("election-depth", 12, "rounds that TestEveryElection looks at")
	electionFaults = flag.Int("election-faults", 2, "faults in them")
	electionSeeds  = flag.Int("election-seeds", 300, "schedules that TestRandomElections plays")
)

// explore plays every way in which so many faults may befall a hall in so many
// rounds, and judges how each of them goes on. Halls that are alike are played
// once.
type explore struct {
	t       *testing.T
	seen    map[string]int // most faults left with which it was seen
	plays   int
	halls   int
	longest int
	path    []string
}

func (x *explore) from(h *hall, depth, faults int) {
	if x.t.Failed() {
		return
	}
	if h.trouble == "" {
		rest := h.clone()
		x.longest = max(x.longest, rest.rest())
		h.trouble = rest.trouble
	}
	if h.trouble != "" {
		x.t.Errorf("%s\nafter %q\n%s", h.trouble, x.path, h)
		return
	}
	if depth == 0 {
		return
	}
	key := fmt.Sprint(depth, faults) + h.key()
	if x.seen[key]++; x.seen[key] > 1 {
		return
	}
	x.halls++
	x.go1(h, depth, faults, "", func(*hall) bool { return true }, 0)
	if faults == 0 {
		return
	}
	for who := range h.seats {
		for _, m := range moves() {
			x.go1(h, depth, faults-1, fmt.Sprintf("%d: %d %s", h.round, who+1, m.name), func(h *hall) bool { return m.do(h, who) }, 0)
		}
		if who > 0 {
			x.go1(h, depth, faults-1, fmt.Sprintf("%d: %d comes first", h.round, who+1), func(*hall) bool { return true }, who)
		}
	}
}

func (x *explore) go1(h *hall, depth, faults int, name string, do func(*hall) bool, before int) {
	next := h.clone()
	if !do(next) {
		return
	}
	x.plays++
	if name != "" {
		x.path = append(x.path, name)
	}
	next.play(before)
	x.from(next, depth-1, faults)
	if name != "" {
		x.path = x.path[:len(x.path)-1]
	}
}

func TestEveryElection(t *testing.T) {
	for n := 2; n <= 5; n++ {
		for _, pairs := range []bool{false, true}[:1+(5-n)/3] {
			x := &explore{t: t, seen: map[string]int{}}
			if x.from(newHall(n, pairs), *electionDepth, *electionFaults); t.Failed() {
				return
			}
			t.Logf("%d candidates (a pair kills: %v), every %d faults in %d rounds: %d rounds played, %d different halls",
				n, pairs, *electionFaults, *electionDepth, x.plays, x.halls)
			t.Logf("  a master again after at most %d quiet rounds of %d, the limit being %d", x.longest, boundRounds, modelLimit/modelTick)
		}
	}
}

// TestRandomElections plays long schedules in which everything befalls everyone,
// and lets them come to rest now and then.
func TestRandomElections(t *testing.T) {
	kills, led := 0, 0
	for seed := range uint64(*electionSeeds) {
		chance := rand.New(rand.NewPCG(seed, 3))
		n := 3 + chance.IntN(3)
		h := newHall(n, false)
		all := moves()
		often := 2 + chance.IntN(12)
		for range 300 {
			for chance.IntN(often) == 0 {
				m := all[chance.IntN(len(all))]
				if m.name == "dies" && chance.IntN(4) > 0 {
					m = all[1] // else nobody is left
				}
				m.do(h, chance.IntN(n))
			}
			h.play(chance.IntN(n))
			if h.trouble != "" {
				t.Fatalf("seed %d: %s", seed, h.trouble)
			}
			if chance.IntN(100) == 0 {
				if h.rest(); h.trouble != "" {
					t.Fatalf("seed %d, at rest: %s", seed, h.trouble)
				}
			}
		}
		kills += h.kills
		led += len(h.led)
	}
	t.Logf("%d schedules of 300 rounds: %d masters, %d kills", *electionSeeds, led, kills)
	if kills == 0 {
		t.Error("nobody was ever killed: the schedules show nothing")
	}
}

// TestBusyMasterIsLeftAlone stops, deafens and delays everybody but the master:
// nobody is ever killed, and nobody else ever leads.
func TestBusyMasterIsLeftAlone(t *testing.T) {
	for seed := range uint64(*electionSeeds) {
		chance := rand.New(rand.NewPCG(seed, 4))
		h := newHall(3+chance.IntN(3), false)
		for !h.settled() {
			h.play(0)
		}
		master := h.owner
		for range 300 {
			for chance.IntN(2) == 0 {
				who := chance.IntN(len(h.seats))
				s := &h.seats[who]
				switch {
				case who == master:
				case chance.IntN(3) == 0:
					s.stopped = !s.stopped
				case chance.IntN(2) == 0:
					s.skip = true
				default:
					s.blind = true
				}
			}
			h.play(chance.IntN(len(h.seats)))
		}
		if h.kills > 0 || len(h.led) != 1 || h.trouble != "" {
			t.Fatalf("seed %d: %d kills, %d masters, %s", seed, h.kills, len(h.led), h.trouble)
		}
	}
}
