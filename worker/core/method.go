package core

import (
	"bytes"
	"maps"
	"slices"
	"time"
)

// method is what is known of one of a pool's methods, or of one that it was called by.
type method struct {
	name   []byte
	at     int           // in Pool.Methods; -1: it is none of them
	lends  bool          // its handler has an argument only while it runs
	budget time.Duration // 0 or less: for ever
}

// methodsOf are all that the pool names.
func methodsOf(p *Pool) map[string]*method {
	all := map[string]*method{}
	for _, names := range [...][]string{p.Methods, slices.Collect(maps.Keys(p.Lends)), slices.Collect(maps.Keys(p.Budgets))} {
		for _, name := range names {
			all[name] = newMethod(p, name)
		}
	}
	return all
}

func newMethod(p *Pool, name string) *method {
	m := &method{name: []byte(name), at: slices.Index(p.Methods, name), lends: p.Lends[name], budget: p.Budget}
	if own, has := p.Budgets[name]; has {
		m.budget = own
	}
	return m
}

// method finds the method of that name. Most are the one that was asked for last; of
// those that the pool does not name that is all which is remembered.
func (p *pool) method(name []byte) *method {
	if m := p.latest; m != nil && bytes.Equal(m.name, name) {
		return m
	}
	m := p.methods[string(name)]
	if m == nil {
		m = newMethod(&p.Pool, string(name))
	}
	p.latest = m
	return m
}
