package heartbeat

import (
	"slices"
	"time"
)

// ballot is another candidate's vote against the present holder.
type ballot struct {
	at     time.Time // when it was last said
	unable bool
}

// stands is for how long a vote counts that is not said again: two of its
// repetitions may be lost.
func (e *Election) stands() time.Duration { return 3*e.every + e.cfg.Tick }

// count takes the vote that a note carries, or that it carries none any more.
func (e *Election) count(now time.Time, n Note) {
	if n.Accused == (Holder{}) || n.Accused != e.holder || !slices.Contains(e.roster, n.From) {
		delete(e.votes, n.From)
		return
	}
	e.votes[n.From] = ballot{now, n.Unable}
}

// jury are the candidates whose votes are asked for: all that are recorded but
// the accused.
func (e *Election) jury() []Candidate {
	list := make([]Candidate, 0, len(e.roster))
	for _, c := range e.roster {
		if c != e.holder.Candidate {
			list = append(list, c)
		}
	}
	return list
}

// voted reports whether a candidate's vote stands.
func (e *Election) voted(now time.Time, c Candidate) bool {
	if c == e.cfg.Self {
		return e.accuses()
	}
	b, ok := e.votes[c]
	return ok && now.Sub(b.at) <= e.stands()
}

func (e *Election) tally(now time.Time) (n int) {
	for _, c := range e.jury() {
		if e.voted(now, c) {
			n++
		}
	}
	return n
}

// decide asks for the kill where a majority of the recorded others has voted
// for it and this candidate is the lowest of them that can.
func (e *Election) decide(now time.Time, a *Acts) {
	jury := e.jury()
	votes := e.tally(now)
	if e.unable || votes <= len(jury)/2 || len(jury) < 2 && !e.cfg.PairKills {
		return
	}
	for _, c := range jury {
		if c == e.cfg.Self {
			break
		}
		if e.voted(now, c) && !e.votes[c].unable {
			return // that one does it
		}
	}
	e.killed = now
	e.turn(now, Killing, "", a)
	a.Kill = &Kill{Holder: e.holder, Votes: votes, Of: len(jury), Until: now.Add(e.patience())}
}
