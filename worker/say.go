package worker

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/worker/core"
)

// sayings are what the pools say of this node, for placement. They are asked for
// on the loop and not under the node's lock: they are the user's code, and may
// wait for a handler that is about to take it.
type sayings struct {
	// fixed
	every time.Duration
	all   []saying // by pool

	// owned by the loop
	next   time.Time
	failed map[string]string // by pool, what was logged last
}

type saying struct {
	pool string
	what func() string
}

// askAgain is how often in a beat the values are asked for.
const askAgain = 4

func newSayings(pools map[string]Served, beat time.Duration) sayings {
	s := sayings{every: orDefault(beat, defaultBeat) / askAgain, failed: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		if what := pools[name].value(); what != nil {
			s.all = append(s.all, saying{name, what})
		}
	}
	return s
}

// say asks for the values, and tells the core.
func (n *node) say(now time.Time) {
	if len(n.says.all) == 0 || now.Before(n.says.next) {
		return
	}
	n.says.next = now.Add(n.says.every)
	for _, s := range n.says.all {
		value, err := s.ask()
		if err == nil {
			n.step(func(*core.Effects) { err = n.core.Say(s.pool, value) })
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != "" && text != n.says.failed[s.pool] {
			n.log.Warn("the value before stays", "pool", s.pool, "error", text)
		}
		n.says.failed[s.pool] = text
	}
}

func (s *saying) ask() (value string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Value: %v", p)
		}
	}()
	return s.what(), nil
}
