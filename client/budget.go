package client

import (
	"time"

	"github.com/limpet-rpc/limpet/client/core"
)

// CallOption says more about one call.
type CallOption struct{ budget time.Duration }

// WithBudget gives a call a budget of its own in the place of its method's, be
// it shorter or longer: how long its handler may run without progress before it
// counts as hung (ErrWorkerHung). Below 0 it never does. It is no deadline: that
// is the context's, and passes whether or not there is progress.
func WithBudget(d time.Duration) CallOption { return CallOption{budget: d} }

// say puts the options into what a call asks for.
func say(a *core.Ask, opts []CallOption) {
	for _, o := range opts {
		a.Patience = o.budget
	}
}
