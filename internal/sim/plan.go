package sim

import (
	"fmt"
	"strings"
	"time"
)

// plan is the shape of one world: how large it is, what its parts do, and which
// faults may befall them. The seed decides it, before anything happens.
type plan struct {
	brokers, nodes, clients, users, slots int
	pools                                 int

	lease, idle, maxAge time.Duration
	window              int
	work                time.Duration // users begin nothing after this
	faultsEnd           time.Duration

	// the network
	delay, jitter time.Duration
	loss, double  float64
	reorder       bool
	lossUntil     time.Duration
	fresh         bool // a broker greets connections as they come up

	// faults that come one by one
	partitions, resets, brokerCrashes, nodeCrashes, clientCrashes, stops, jumps int

	// what users and handlers do
	long, stuck, panics, openFails, slowOpen, slowClose bool
	bare                                                bool // pools have neither Open nor Close
	direct, lies                                        bool // nodes can be reached without a broker; or say so of another
	casts                                               bool // clients broadcast
	deadlines, cancels, withdraws, shortWaits           bool
	firsts, steps, attaches                             bool // calls carried by opens, progress, attaching
	drains                                              int
	liar                                                bool // somebody sends impossible frames in the name of others
	hold                                                bool // users keep their last session a while, idle, when all is calm again

	hosts   int  // machines that nodes and brokers are spread over
	records bool // nodes keep start records
	bursts  bool // users make several calls at once

	budget time.Duration // of every call without a sign of life; 0: none
	lanes  int           // that the sessions of a pool share on its node; 0: none

	policy  string        // of the pools' own; empty: the brokers'
	grows   int           // slots that a pool may have beyond those that it begins with; 0: it does not grow
	shared  bool          // by all pools of a node
	streams bool          // arguments and replies travel as chunks
	stall   time.Duration // of a reply of which nothing is taken

	takeovers int  // of a cell's masters
	renews    bool // parts know when their connections stand again
}

// calm reports a world in which nothing may go wrong.
func (p *plan) calm() bool {
	return p.loss == 0 && p.double == 0 && !p.reorder && !p.liar && p.single() == 0
}

// loses reports that messages may be lost, or come too late to be of use.
func (p *plan) loses() bool { return p.cuts() || p.reorder || p.resets+p.brokerCrashes > 0 }

// plateau is when users that hold their sessions let go of them.
func (p *plan) plateau() time.Duration { return p.work + p.lease + 3*time.Second }

func (p *plan) single() int {
	return p.partitions + p.resets + p.brokerCrashes + p.nodeCrashes + p.drains + p.clientCrashes + p.stops + p.jumps
}

// cuts reports that somebody may be silent for longer than beats and leases
// allow although nothing crashes.
func (p *plan) cuts() bool { return p.loss > 0 || p.partitions+p.stops+p.jumps > 0 }

func newPlan(c chance) plan {
	p := plan{
		brokers: 1, nodes: c.count(1, 3), clients: c.count(1, 4), users: c.count(1, 3), slots: c.count(1, 3), pools: 1,
		lease: 6 * time.Second, window: 8, work: 15 * time.Second, faultsEnd: 14 * time.Second,
		delay: c.skewed(50*time.Microsecond, 40*time.Millisecond), fresh: c.in(0.5),
	}
	if c.in(0.25) {
		p.brokers = 2
	}
	if c.in(0.25) {
		p.pools = 2
	}
	if c.in(0.2) {
		p.idle = 3 * time.Second
	}
	if c.in(0.2) {
		p.maxAge = c.between(3*time.Second, 8*time.Second)
	}
	if c.in(0.3) {
		p.window = c.count(1, 4)
	}
	p.jitter = c.skewed(0, p.delay)
	p.temper(c)
	p.habits(c)
	return p
}

// temper chooses the faults: none, one kind, or a mixture.
func (p *plan) temper(c chance) {
	kinds := []func(){
		func() { p.loss = c.Float64() * 0.2 },
		func() { p.double = c.Float64() * 0.3 },
		func() { p.reorder, p.jitter = true, c.skewed(time.Millisecond, 300*time.Millisecond) },
		func() { p.partitions = c.count(1, 3) },
		func() { p.resets = c.count(1, 10) },
		func() { p.brokerCrashes = c.count(1, 3) },
		func() { p.nodeCrashes = c.count(1, 3) },
		func() { p.clientCrashes = c.count(1, 3) },
		func() { p.stops = c.count(1, 3) },
		func() { p.jumps = c.count(1, 3) },
	}
	p.lossUntil = p.faultsEnd
	switch mood := c.Float64(); {
	case mood < 0.1:
	case mood < 0.4:
		kinds[c.IntN(len(kinds))]()
	default:
		share := 0.2 + 0.5*c.Float64()
		for _, kind := range kinds {
			if c.in(share) {
				kind()
			}
		}
	}
}

// habits chooses what users and handlers do.
func (p *plan) habits(c chance) {
	for _, habit := range []*bool{
		&p.long, &p.stuck, &p.panics, &p.openFails, &p.slowOpen, &p.slowClose, &p.deadlines, &p.cancels, &p.withdraws, &p.shortWaits,
		&p.firsts, &p.steps, &p.attaches,
	} {
		*habit = c.in(0.35)
	}
	p.hold = c.in(0.3)
	p.liar = c.in(0.1)
	if c.in(0.15) {
		p.drains = c.count(1, 2)
	}
}

// house chooses who shares a machine with whom, and whether start records are
// kept there.
func (p *plan) house(c chance) {
	p.hosts = c.count(1, 2)
	p.records = c.in(0.85)
}

// String is one line, for the history and for reports.
func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d brokers, %d nodes of %d slots in %d pools, %d clients of %d users, window %d, delay %s + %s",
		p.brokers, p.nodes, p.slots, p.pools, p.clients, p.users, p.window, p.delay, p.jitter)
	if p.idle > 0 {
		fmt.Fprintf(&b, ", idle limit %s", p.idle)
	}
	if p.maxAge > 0 {
		fmt.Fprintf(&b, ", absolute limit %s", p.maxAge)
	}
	add := func(name string, n int) {
		if n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, name)
		}
	}
	if p.loss > 0 || p.double > 0 {
		fmt.Fprintf(&b, ", loss %.2f, double %.2f", p.loss, p.double)
	}
	add("partitions", p.partitions)
	add("resets", p.resets)
	add("broker crashes", p.brokerCrashes)
	add("node crashes", p.nodeCrashes)
	add("client crashes", p.clientCrashes)
	add("stops", p.stops)
	add("jumps", p.jumps)
	add("drains", p.drains)
	add("machines", p.hosts)
	add("takeovers", p.takeovers)
	add("lanes", p.lanes)
	if p.budget > 0 {
		fmt.Fprintf(&b, ", budget %s", p.budget)
	}
	for _, h := range []struct {
		name string
		on   bool
	}{
		{"reorder", p.reorder},
		{"long", p.long},
		{"stuck", p.stuck},
		{"panics", p.panics},
		{"failing opens", p.openFails},
		{"slow opens", p.slowOpen && !p.bare},
		{"bare", p.bare},
		{"direct", p.direct},
		{"casts", p.casts},
		{"lies", p.lies},
		{"slow closes", p.slowClose},
		{"deadlines", p.deadlines},
		{"cancels", p.cancels},
		{"withdraws", p.withdraws},
		{"short waits", p.shortWaits},
		{"firsts", p.firsts},
		{"steps", p.steps},
		{"attaches", p.attaches},
		{"liar", p.liar},
		{"hold", p.hold},
		{"records", p.records},
		{"bursts", p.bursts},
		{"streams", p.streams},
	} {
		if h.on {
			b.WriteString(", " + h.name)
		}
	}
	b.WriteString(p.described())
	return b.String()
}
