package client

import (
	"time"

	"github.com/limpet-rpc/limpet/client/core"
)

// CallOption says more about one call.
type CallOption struct {
	budget time.Duration
	sum    bool
	hops   int // the limit and one, 0: not said
}

// WithBudget gives a call a budget of its own in the place of its method's, be
// it shorter or longer: how long its handler may run without progress before it
// counts as hung (ErrWorkerHung). Below 0 it never does. It is no deadline: that
// is the context's, and passes whether or not there is progress.
func WithBudget(d time.Duration) CallOption { return CallOption{budget: d} }

// WithChecksum has the argument and the reply go as parts with a CRC-32C over
// each, whatever their size. What does not agree ends as session.ErrStream.
func WithChecksum() CallOption { return CallOption{sum: true} }

// say puts the options into what a call asks for.
func say(a *core.Ask, opts []CallOption) {
	for _, o := range opts {
		if o.budget != 0 {
			a.Patience = o.budget
		}
	}
}

// hopsOf is the hop limit that options say, and one; 0 for none.
func hopsOf(opts []CallOption) (hops int) {
	for _, o := range opts {
		if o.hops != 0 {
			hops = o.hops
		}
	}
	return hops
}
