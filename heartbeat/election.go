package heartbeat

import (
	"fmt"
	"slices"
	"time"
)

// Role is what a candidate is doing.
type Role uint8

const (
	// StandingBy: it knows of no holder, and tries for the lock.
	StandingBy Role = iota
	// Following: it hears the holder.
	Following
	// Suspecting: the holder has been silent for half of the limit.
	Suspecting
	// Voting: it has been silent for the limit, and the others are told so.
	Voting
	// Killing: a majority says so, and this candidate is the one that acts.
	Killing
	// Taking: the holder is gone, and it tries for the lock.
	Taking
	// Master: it has the lock, and beats from the loop that does its work.
	Master
)

var roleNames = [...]string{"standing by", "following", "suspecting", "voting", "killing", "taking", "master"}

// String is the role as logs and status show it.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// DefaultLimit is for how long a master may be silent.
const DefaultLimit = 500 * time.Millisecond

// ElectionConfig is what a candidate is told at its start.
type ElectionConfig struct {
	Self  Candidate
	Limit time.Duration // silence after which a holder is accused; default DefaultLimit
	Tick  time.Duration // how often Tick will be called; default a fiftieth of the limit
	// PairKills lets the only other candidate of a pair kill the holder. Nobody
	// can confirm what it has (not) heard.
	PairKills bool
}

// Election is one candidate's part in the election of its cell. It is for one
// goroutine at a time.
type Election struct {
	// fixed after NewElection
	cfg   ElectionConfig
	every time.Duration // between the notes of a master, and of one who votes

	role   Role
	roster []Candidate // as recorded in the cell, sorted
	epoch  uint64      // the highest that was heard of
	holder Holder      // of the lock, as far as is known
	gone   Holder      // the last one that is known to be dead
	heard  time.Time   // its last sign of life, or when this candidate began to listen
	votes  map[Candidate]ballot
	unable bool      // it could not kill the holder
	killed time.Time // when it asked for that last
	sure   time.Time // when it looked last whether the lock is its own
	pacer  *Pacer

	ticked time.Time // the last Tick, or the gap found since
	found  bool      // a gap was found since the last Tick
	late   bool      // one was found before that Tick too
	worst  time.Duration
}

// NewElection is a candidate that knows nothing yet.
func NewElection(now time.Time, cfg ElectionConfig) *Election {
	if cfg.Limit <= 0 {
		cfg.Limit = DefaultLimit
	}
	if cfg.Tick <= 0 {
		cfg.Tick = cfg.Limit / 50
	}
	every := max(cfg.Limit/10, minInterval)
	return &Election{
		cfg: cfg, every: every, roster: []Candidate{cfg.Self}, votes: map[Candidate]ballot{}, pacer: NewPacer(every), ticked: now,
	}
}

// Roster takes the candidates as they are recorded in the cell, the holder and
// this one among them or not. Majorities are of these.
func (e *Election) Roster(list []Candidate) {
	e.roster = append(e.roster[:0], list...)
	if !slices.Contains(e.roster, e.cfg.Self) {
		e.roster = append(e.roster, e.cfg.Self)
	}
	slices.Sort(e.roster)
	e.roster = slices.Compact(e.roster)
}

// Tick lets time pass. A master calls it from the loop that does its work, for
// that is where its beats come from.
func (e *Election) Tick(now time.Time, a *Acts) {
	e.notice(now, a)
	e.late, e.found, e.ticked = e.found, false, now
	switch e.role {
	case Master:
		if now.Sub(e.sure) >= e.cfg.Limit { // it may have slept, and been replaced
			e.sure = now
			a.Doubt = &Doubt{}
		}
	case StandingBy, Taking:
		a.Try = true
	default:
		e.judge(now, a)
	}
	if e.pacer.Due(now) {
		e.cast(a)
		a.Try = a.Try || e.accuses() // its lock may be free although nobody saw it end
	}
}

// Hear takes a note of another candidate.
func (e *Election) Hear(now time.Time, n Note, a *Acts) {
	if n.From == e.cfg.Self || n.From == 0 {
		return
	}
	e.notice(now, a)
	if e.role == Master {
		e.challenged(n, a)
		return
	}
	switch of := (Holder{n.From, n.Epoch}); {
	case of == e.gone:
	case !n.Master && n.From == e.holder.Candidate && e.watching():
		a.Try = true // it has let go of the lock, or lost it
	case !n.Master:
	case of == e.holder:
		e.heard = now
	case n.Epoch < e.epoch:
		e.cast(a) // so that it learns that it is outdated
	default:
		a.Look = true // the lock says who it is: a note is only a hint
	}
	e.epoch = max(e.epoch, n.Epoch)
	e.count(now, n)
	if e.watching() {
		e.judge(now, a)
	}
}

// challenged takes a note that a master hears: one of a higher epoch, or of
// another master of its own, makes it look whether it still is one.
func (e *Election) challenged(n Note, a *Acts) {
	if n.Epoch > e.holder.Epoch || n.Master && n.Epoch == e.holder.Epoch {
		a.Doubt = &Doubt{Above: n.Epoch}
	}
}

// Known takes an epoch that somebody else knows of: a node, say.
func (e *Election) Known(epoch uint64, a *Acts) {
	if e.role == Master && epoch > e.holder.Epoch {
		a.Doubt = &Doubt{Above: epoch}
		return
	}
	e.epoch = max(e.epoch, epoch)
}

// Epoch is the highest that is known: who takes the lock claims a higher one.
func (e *Election) Epoch() uint64 { return e.epoch }

// Held takes who has the lock, as the lock itself says. The zero holder means
// that somebody has it who has not said who.
func (e *Election) Held(now time.Time, h Holder, a *Acts) {
	if e.role == Master || h.Candidate == e.cfg.Self || h == (Holder{}) || h == e.gone || h.Epoch < e.holder.Epoch {
		return
	}
	e.epoch = max(e.epoch, h.Epoch)
	if h == e.holder && e.watching() {
		return
	}
	e.watch(now, h)
	e.turn(now, Following, "", a)
}

// watch begins to listen to a holder.
func (e *Election) watch(now time.Time, h Holder) {
	e.holder, e.heard, e.unable = h, now, false
	clear(e.votes)
}

// Exited takes the end of a holder's process, by its pidfd. Nobody votes about
// that: whoever gets the lock is the next.
func (e *Election) Exited(now time.Time, h Holder, a *Acts) {
	if e.role == Master || h != e.holder {
		return
	}
	e.gone = h
	clear(e.votes)
	e.turn(now, Taking, "its process has ended", a)
	a.Try = true
}

// Killed takes what came of a Kill that did not end in Exited: the candidate
// goes on voting, and leaves the deed to the next one.
func (e *Election) Killed(now time.Time, h Holder, err error, a *Acts) {
	if e.role != Killing || h != e.holder {
		return
	}
	e.unable = true
	e.turn(now, Voting, err.Error(), a)
	e.cast(a)
}

// Took takes the lock: this candidate is master, under the epoch that it has
// claimed there.
func (e *Election) Took(now time.Time, epoch uint64, a *Acts) {
	e.watch(now, Holder{e.cfg.Self, epoch})
	e.sure = now
	e.epoch = max(e.epoch, epoch)
	e.turn(now, Master, "", a)
	a.Lead = epoch
	e.cast(a)
}

// Sure takes a master's answer to its Doubt: the lock is its own, and it leads
// under epoch from now on.
func (e *Election) Sure(epoch uint64, a *Acts) {
	if e.role != Master {
		return
	}
	if epoch > e.holder.Epoch {
		e.holder.Epoch, e.epoch = epoch, max(e.epoch, epoch)
		a.Lead = epoch
	}
	e.cast(a)
}

// Lost takes the other one: it is master no more.
func (e *Election) Lost(now time.Time, why string, a *Acts) {
	if e.role != Master {
		return
	}
	a.Yield = why
	e.stepDown(now, why, a)
}

// Resign takes that a master has let go of the lock of its own accord.
func (e *Election) Resign(now time.Time, a *Acts) {
	if e.role == Master {
		e.stepDown(now, "it lets go of the lock", a)
	}
}

func (e *Election) stepDown(now time.Time, why string, a *Acts) {
	e.gone, e.holder = e.holder, Holder{}
	e.turn(now, StandingBy, why, a)
	e.cast(a)
}

// Leads reports whether it is master.
func (e *Election) Leads() bool { return e.role == Master }

// notice looks whether this candidate itself was late. What it has not heard in
// a gap says nothing about others: it listens anew. Where one late Tick follows
// another a quarter of the limit does count, so that even one who is always late
// finds out in the end.
func (e *Election) notice(now time.Time, a *Acts) {
	gap := now.Sub(e.ticked)
	e.worst = max(e.worst, gap-e.cfg.Tick)
	most := e.patience()
	if gap <= most {
		return
	}
	if e.ticked, e.found = now, true; e.role == Master {
		return
	}
	accuses := e.accuses()
	if clear(e.votes); e.late {
		e.heard = e.heard.Add(gap - most)
	} else {
		e.heard = now
	}
	if e.watching() && !e.late {
		e.turn(now, Following, fmt.Sprintf("this candidate was late by %s", gap.Round(time.Millisecond)), a)
		if accuses {
			e.cast(a)
		}
	}
}

// patience is how far apart its own ticks may be.
func (e *Election) patience() time.Duration { return max(e.cfg.Limit/4, 2*e.cfg.Tick) }

// judge draws the conclusion from how long the holder has been silent.
func (e *Election) judge(now time.Time, a *Acts) {
	before := e.accuses()
	switch silent := now.Sub(e.heard); {
	case silent < e.cfg.Limit/2:
		e.turn(now, Following, "", a)
	case silent < e.cfg.Limit:
		e.turn(now, Suspecting, "", a)
	case e.role != Killing || now.Sub(e.killed) >= e.cfg.Limit:
		e.turn(now, Voting, fmt.Sprintf("silent for %s", silent.Round(time.Millisecond)), a)
		e.decide(now, a)
	}
	if e.accuses() != before {
		e.cast(a)
	}
}

// turn changes the role.
func (e *Election) turn(now time.Time, to Role, why string, a *Acts) {
	if e.role == to {
		return
	}
	t := Turn{From: e.role, To: to, Holder: e.holder, Why: why}
	if e.role = to; e.accuses() {
		t.Votes, t.Of = e.tally(now), len(e.jury())
	}
	a.Turns = append(a.Turns, t)
}

// watching reports that there is a holder to listen to.
func (e *Election) watching() bool { return e.role >= Following && e.role <= Killing }

func (e *Election) accuses() bool { return e.role == Voting || e.role == Killing }

// cast tells the others what this candidate is and thinks.
func (e *Election) cast(a *Acts) {
	a.Cast = true
	n := Note{From: e.cfg.Self, Epoch: e.epoch, Master: e.role == Master, Unable: e.unable, Late: max(e.worst, 0)}
	if n.Master {
		n.Epoch = e.holder.Epoch
	}
	if e.accuses() {
		n.Accused = e.holder
	}
	if e.worst = 0; e.role == Master || e.accuses() {
		e.pacer.SetInterval(e.every)
	} else {
		e.pacer.SetInterval(e.cfg.Limit)
	}
	a.Note = n
}

// Standing is where a candidate stands, for status pages.
type Standing struct {
	Self   Candidate
	Role   Role
	Epoch  uint64 // the highest that is known
	Holder Holder
	Silent time.Duration // since the holder's last sign; 0 for a master
	Votes  int           // against the holder
	Of     int           // candidates that could vote
	Roster []Candidate
}

// Standing takes a snapshot.
func (e *Election) Standing(now time.Time) Standing {
	s := Standing{Self: e.cfg.Self, Role: e.role, Epoch: e.epoch, Holder: e.holder, Of: len(e.jury()), Roster: slices.Clone(e.roster)}
	if e.watching() {
		s.Silent, s.Votes = max(now.Sub(e.heard), 0), e.tally(now)
	}
	return s
}
