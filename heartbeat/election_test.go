package heartbeat

import (
	"errors"
	"testing"
	"time"
)

// voter is one candidate whose master is 9, of epoch 3, in a roster of 1 to n
// and that master.
type voter struct {
	t   *testing.T
	e   *Election
	now time.Duration
	a   Acts
}

const masterOfAll = 9

func newVoter(t *testing.T, self Candidate, n int, pairs bool) *voter {
	t.Helper()
	v := &voter{t: t, e: NewElection(at(0), ElectionConfig{Self: self, PairKills: pairs})}
	roster := []Candidate{masterOfAll}
	for i := range n {
		roster = append(roster, Candidate(i+1))
	}
	v.e.Roster(roster)
	v.e.Held(at(0), Holder{masterOfAll, 3}, &v.a)
	return v
}

// pass lets time pass, in ticks, and returns what the last of them asked for.
func (v *voter) pass(d time.Duration) *Acts {
	v.t.Helper()
	for end := v.now + d; v.now < end; {
		v.now += v.e.cfg.Tick
		v.a.Reset()
		v.e.Tick(at(v.now), &v.a)
		if v.a.Kill != nil {
			return &v.a
		}
	}
	return &v.a
}

func (v *voter) hear(n Note) *Acts {
	v.a.Reset()
	v.e.Hear(at(v.now), n, &v.a)
	return &v.a
}

func (v *voter) accuse(from Candidate) *Acts {
	return v.hear(Note{From: from, Epoch: 3, Accused: Holder{masterOfAll, 3}})
}

func (v *voter) is(r Role) {
	v.t.Helper()
	if v.e.role != r {
		v.t.Errorf("at %v it is %v, want %v", v.now, v.e.role, r)
	}
}

const limit = DefaultLimit

func TestSilentMasterIsAccusedAfterTheLimit(t *testing.T) {
	v := newVoter(t, 1, 4, false)
	v.pass(limit/2 - 20*time.Millisecond)
	v.is(Following)
	v.pass(40 * time.Millisecond)
	v.is(Suspecting)
	v.pass(limit/2 - 40*time.Millisecond)
	v.is(Suspecting)
	v.pass(30 * time.Millisecond)
	v.is(Voting)
	if a := v.hear(Note{From: masterOfAll, Epoch: 3, Master: true}); v.e.role != Following || !a.Cast || a.Note.Accused != (Holder{}) {
		t.Errorf("a beat left it %v, telling %+v", v.e.role, a.Note)
	}
}

// Of five candidates four are asked: three of them are a majority, and the
// lowest that can does it.
func TestMajorityOfTheRecordedKills(t *testing.T) {
	v := newVoter(t, 1, 4, false)
	v.pass(limit + 20*time.Millisecond)
	if a := v.accuse(2); a.Kill != nil {
		t.Fatal("two of four kill")
	}
	a := v.accuse(3)
	if a.Kill == nil || a.Kill.Votes != 3 || a.Kill.Of != 4 || a.Kill.Holder != (Holder{masterOfAll, 3}) {
		t.Fatalf("three of four ask for %+v", a.Kill)
	}
	v.is(Killing)
}

func TestTheLowestVoterKills(t *testing.T) {
	v := newVoter(t, 2, 4, false)
	v.pass(limit + 20*time.Millisecond)
	v.accuse(1)
	if a := v.accuse(3); a.Kill != nil {
		t.Fatal("2 kills although 1 has voted")
	}
	a := v.hear(Note{From: 1, Epoch: 3, Accused: Holder{masterOfAll, 3}, Unable: true})
	if a.Kill == nil {
		t.Error("2 does not kill although 1 cannot")
	}
}

func TestVotesThatDoNotCount(t *testing.T) {
	for name, note := range map[string]Note{
		"of another epoch":     {From: 2, Epoch: 3, Accused: Holder{masterOfAll, 2}},
		"against another":      {From: 2, Epoch: 3, Accused: Holder{4, 3}},
		"of one not recorded":  {From: 77, Epoch: 3, Accused: Holder{masterOfAll, 3}},
		"of the accused":       {From: masterOfAll, Epoch: 3, Accused: Holder{masterOfAll, 3}},
		"its own, by the post": {From: 1, Epoch: 3, Accused: Holder{masterOfAll, 3}},
		"none at all":          {From: 2, Epoch: 3},
	} {
		v := newVoter(t, 1, 2, false)
		v.pass(limit + 20*time.Millisecond)
		if a := v.hear(note); a.Kill != nil {
			t.Errorf("a vote %s counts", name)
		}
		if a := v.accuse(2); a.Kill == nil {
			t.Errorf("after a vote %s a good one does not count", name)
		}
	}
}

func TestVoteLapsesUnlessItIsRepeated(t *testing.T) {
	v := newVoter(t, 1, 4, false)
	v.pass(limit - 20*time.Millisecond)
	v.accuse(2)
	v.pass(400 * time.Millisecond)
	if v.e.tally(at(v.now)) != 1 {
		t.Error("a vote of 400 ms ago counts")
	}
	if a := v.accuse(3); a.Kill == nil && v.accuse(2).Kill == nil {
		t.Error("two fresh votes and the own one do not count")
	}
}

func TestPairKillsOnlyWhereItMay(t *testing.T) {
	for _, may := range []bool{false, true} {
		v := newVoter(t, 1, 1, may)
		if a := v.pass(3 * limit); (a.Kill != nil) != may {
			t.Errorf("kills: %v, may: %v", a.Kill != nil, may)
		}
	}
}

// A candidate that was stopped has heard nothing because it did not listen.
func TestStoppedCandidateAccusesNobody(t *testing.T) {
	v := newVoter(t, 1, 2, false)
	v.pass(limit - 20*time.Millisecond)
	v.is(Suspecting)
	v.now += time.Minute
	if a := v.accuse(2); a.Kill != nil || v.e.role != Following {
		t.Fatalf("woken up it is %v and asks for %+v", v.e.role, a.Kill)
	}
	v.pass(limit - 20*time.Millisecond)
	v.is(Suspecting)
	v.pass(40 * time.Millisecond)
	v.is(Voting)
}

func TestVoterThatWasStoppedTakesItsVoteBack(t *testing.T) {
	v := newVoter(t, 1, 3, false)
	v.pass(limit + 20*time.Millisecond)
	v.is(Voting)
	v.now += time.Second
	if a := v.pass(v.e.cfg.Tick); !a.Cast || a.Note.Accused != (Holder{}) || v.e.role != Following {
		t.Errorf("it is %v and tells %+v", v.e.role, a.Note)
	}
}

// One that is always late is slower to accuse, but does so in the end.
func TestAlwaysLateCandidateFindsOut(t *testing.T) {
	v := newVoter(t, 1, 4, false)
	rounds := 0
	for ; v.e.role != Voting && rounds < 20; rounds++ {
		v.now += 2 * limit
		v.a.Reset()
		v.e.Tick(at(v.now), &v.a)
	}
	if rounds < 4 || rounds == 20 {
		t.Errorf("it accuses after %d late ticks, want 4 to 19", rounds)
	}
}

func TestMasterThatExitsIsNotVotedAbout(t *testing.T) {
	v := newVoter(t, 3, 4, false)
	v.a.Reset()
	if v.e.Exited(at(v.now), Holder{masterOfAll, 3}, &v.a); !v.a.Try || v.e.role != Taking {
		t.Fatalf("it is %v, tries: %v", v.e.role, v.a.Try)
	}
	v.a.Reset()
	v.e.Held(at(v.now), Holder{masterOfAll, 3}, &v.a) // as the lock's file says until the next claims it
	v.is(Taking)
	if a := v.pass(v.e.cfg.Tick); !a.Try {
		t.Error("it does not try again")
	}
	v.e.Held(at(v.now), Holder{2, 4}, &v.a)
	v.is(Following)
}

func TestMasterDoubtsItselfWhereAHigherEpochIsKnown(t *testing.T) {
	for name, tell := range map[string]func(v *voter){
		"a candidate":                 func(v *voter) { v.hear(Note{From: 2, Epoch: 8}) },
		"another master of its epoch": func(v *voter) { v.hear(Note{From: 2, Epoch: 4, Master: true}) },
		"a node":                      func(v *voter) { v.e.Known(8, &v.a) },
	} {
		v := newVoter(t, 1, 2, false)
		v.e.Took(at(v.now), 4, &v.a)
		v.a.Reset()
		if tell(v); v.a.Doubt == nil || v.a.Doubt.Above < 4 {
			t.Errorf("%s: doubt %+v", name, v.a.Doubt)
			continue
		}
		v.a.Reset()
		if v.e.Sure(9, &v.a); v.a.Lead != 9 || v.a.Note.Epoch != 9 || v.e.Epoch() != 9 {
			t.Errorf("%s: raised, it leads under %d and tells %+v", name, v.a.Lead, v.a.Note)
		}
		v.a.Reset()
		if v.e.Lost(at(v.now), "gone", &v.a); v.a.Yield == "" || v.e.Leads() || v.a.Note.Master {
			t.Errorf("%s: lost, it goes on: %+v", name, v.a)
		}
	}
}

func TestMasterThatSleptLooksAtItsLock(t *testing.T) {
	v := newVoter(t, 1, 2, false)
	v.e.Took(at(v.now), 4, &v.a)
	v.now += limit
	v.a.Reset()
	if v.e.Tick(at(v.now), &v.a); v.a.Doubt == nil {
		t.Error("it does not")
	}
}

func TestKillThatFailsIsLeftToTheNext(t *testing.T) {
	v := newVoter(t, 1, 2, false)
	v.pass(limit + 20*time.Millisecond)
	if v.accuse(2).Kill == nil {
		t.Fatal("no kill")
	}
	v.a.Reset()
	v.e.Killed(at(v.now), Holder{masterOfAll, 3}, errors.New("not permitted"), &v.a)
	if v.is(Voting); !v.a.Note.Unable {
		t.Error("it does not say so")
	}
	if a := v.accuse(2); a.Kill != nil {
		t.Error("it tries again")
	}
}

func TestOutdatedMasterIsTold(t *testing.T) {
	v := newVoter(t, 1, 2, false)
	if a := v.hear(Note{From: 2, Epoch: 1, Master: true}); !a.Cast || a.Note.Epoch != 3 {
		t.Errorf("it is told %+v", a.Note)
	}
	v.is(Following)
}
