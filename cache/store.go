package cache

import (
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// entryCost is what an entry counts beside its key and value.
const entryCost = 64

// store is the entries of one host. Its methods may be used by any goroutine.
type store struct {
	// fixed after newStore
	bytes, value int
	entries      *otter.Cache[string, entry]

	version atomic.Uint64 // the last one given
}

// entry is one value; it is never changed, only replaced.
type entry struct {
	value   []byte
	version uint64
	until   time.Time // zero: no end
}

func (e *entry) over(now time.Time) bool { return !e.until.IsZero() && !now.Before(e.until) }

func newStore(c Config) *store {
	s := &store{bytes: c.Bytes, value: c.Value}
	s.version.Store(uint64(time.Now().UnixNano())) // so that another host's versions are others
	s.entries = otter.Must(&otter.Options[string, entry]{
		MaximumWeight: uint64(c.Bytes),
		Weigher:       func(key string, e entry) uint32 { return uint32(min(len(key)+len(e.value)+entryCost, math.MaxUint32)) },
		Executor:      func(tidy func()) { tidy() }, // by whoever has made it necessary, so that no goroutine is left
	})
	return s
}

// place is an entry's key among those of all namespaces.
func (a *ask) place() string { return strconv.Itoa(len(a.Scope)) + ":" + a.Scope + a.Key }

// refused is the answer to what cannot be, done where nothing is wrong.
func (s *store) refused(a *ask) answer {
	switch {
	case len(a.Key) < 1 || len(a.Key) > MaxKey || len(a.Scope) > MaxKey:
		return answer{Verdict: badKey, Limit: MaxKey}
	case len(a.Value) > s.value:
		return answer{Verdict: tooLarge, Limit: s.value}
	}
	return answer{}
}

func (s *store) get(a ask) answer {
	if bad := s.refused(&a); bad.Verdict != done {
		return bad
	}
	e, found := s.entries.GetIfPresent(a.place())
	switch {
	case !found:
		return answer{Verdict: missing}
	case e.over(time.Now()):
		s.remove(a.place()) // unless it has been replaced meanwhile
		return answer{Verdict: missing}
	}
	return answer{Value: e.value, Version: e.version}
}

func (s *store) set(a ask) answer {
	if bad := s.refused(&a); bad.Verdict != done {
		return bad
	}
	e := s.entry(&a)
	s.entries.Set(a.place(), e)
	return answer{Version: e.version}
}

func (s *store) entry(a *ask) entry {
	e := entry{value: a.Value, version: s.version.Add(1)}
	if a.Millis > 0 {
		e.until = time.Now().Add(time.Duration(a.Millis) * time.Millisecond)
	}
	return e
}

// swap sets the value where the entry still has the version asked for; 0 is that
// of an entry that is missing.
func (s *store) swap(a ask) (r answer) {
	if bad := s.refused(&a); bad.Verdict != done {
		return bad
	}
	e := s.entry(&a)
	s.entries.Compute(a.place(), func(old entry, found bool) (entry, otter.ComputeOp) {
		if found && old.over(time.Now()) {
			found = false
		}
		switch {
		case !found && a.Version != 0:
			r = answer{Verdict: missing}
		case found && old.version != a.Version:
			r = answer{Verdict: conflict, Version: old.version}
		default:
			r = answer{Version: e.version}
			return e, otter.WriteOp
		}
		return old, otter.CancelOp
	})
	return r
}

func (s *store) delete(a ask) (r answer) {
	if bad := s.refused(&a); bad.Verdict != done {
		return bad
	}
	r.Verdict = missing
	s.entries.Compute(a.place(), func(old entry, found bool) (entry, otter.ComputeOp) {
		if !found {
			return old, otter.CancelOp
		}
		if !old.over(time.Now()) {
			r = answer{Version: old.version}
		}
		return old, otter.InvalidateOp
	})
	return r
}

// remove forgets an entry whose time is over.
func (s *store) remove(place string) {
	s.entries.Compute(place, func(old entry, found bool) (entry, otter.ComputeOp) {
		if found && old.over(time.Now()) {
			return old, otter.InvalidateOp
		}
		return old, otter.CancelOp
	})
}

func (s *store) stats() Stats {
	s.entries.CleanUp()
	return Stats{Entries: s.entries.EstimatedSize(), Bytes: s.entries.WeightedSize(), Limit: uint64(s.bytes)}
}
