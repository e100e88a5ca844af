package sim

import (
	"slices"
	"time"
)

// schedule enters the faults of the plan into the agenda.
func (w *World) schedule() {
	each := func(n int, fault func()) {
		for range n {
			w.at(w.chance.between(500*time.Millisecond, w.plan.faultsEnd), fault)
		}
	}
	each(w.plan.partitions, w.partition)
	each(w.plan.resets, w.breakOne)
	each(w.plan.brokerCrashes, w.crashBroker)
	each(w.plan.nodeCrashes, w.crashNode)
	each(w.plan.clientCrashes, w.crashClient)
	each(w.plan.drains, w.drainOne)
	each(w.plan.stops, w.stopOne)
	each(w.plan.jumps, w.jumpOne)
	each(w.plan.takeovers, w.takeOver)
}

// links are all that live, in a fixed order.
func (w *World) links() []*link {
	var all []*link
	for _, b := range w.brokers {
		b.links = slices.DeleteFunc(b.links, (*link).over)
		all = append(all, b.links...)
	}
	for _, n := range w.nodes {
		n.direct.links = slices.DeleteFunc(n.direct.links, (*link).over)
		all = append(all, n.direct.links...)
	}
	return all
}

func (w *World) partition() {
	links := w.links()
	if len(links) == 0 {
		return
	}
	l := links[w.chance.IntN(len(links))]
	c := cut{until: w.now + w.chance.skewed(50*time.Millisecond, 8*time.Second), hold: w.chance.in(0.5)}
	way := w.chance.IntN(3)
	if way != toDealer {
		l.cut[toBroker] = c
	}
	if way != toBroker {
		l.cut[toDealer] = c
	}
	w.note("%-8s ! partition of %s, %s, until %s, hold %v", "world", l.title(toBroker), [...]string{"towards the broker", "towards the dealer", "both ways"}[way], c.until, c.hold)
}

func (w *World) breakOne() {
	if links := w.links(); len(links) > 0 {
		l := links[w.chance.IntN(len(links))]
		w.note("%-8s ! connection %s breaks", "world", l.title(toBroker))
		l.reset()
	}
}

func (w *World) crashBroker() {
	b := w.brokers[w.chance.IntN(len(w.brokers))]
	if !b.alive {
		return
	}
	b.crash()
	down := w.chance.skewed(10*time.Millisecond, 4*time.Second)
	if w.chance.in(0.15) {
		down = w.plan.lease + w.chance.between(0, 3*time.Second) // leases have to stand still
	}
	w.after(down, func() {
		if !b.alive {
			b.boot()
		}
	})
}

func (w *World) crashNode() {
	n := w.nodes[w.chance.IntN(len(w.nodes))]
	if !n.alive {
		return
	}
	n.crash()
	w.after(w.chance.skewed(50*time.Millisecond, 5*time.Second), func() {
		if !n.alive {
			n.boot()
		}
	})
}

func (w *World) crashClient() {
	alive := slices.DeleteFunc(slices.Clone(w.clients), func(c *clientPart) bool { return !c.alive })
	if len(alive) == 0 {
		return
	}
	alive[w.chance.IntN(len(alive))].crash()
	if w.chance.in(0.7) {
		w.after(w.chance.between(0, 2*time.Second), func() { w.clients = append(w.clients, w.newClient()) })
	}
}

// processes are all that live.
func (w *World) processes() []*process {
	var all []*process
	for _, b := range w.brokers {
		all = append(all, &b.process)
	}
	for _, n := range w.nodes {
		all = append(all, &n.process)
	}
	for _, c := range w.clients {
		all = append(all, &c.process)
	}
	return slices.DeleteFunc(all, func(p *process) bool { return !p.alive })
}

func (w *World) stopOne() {
	all := w.processes()
	if len(all) == 0 {
		return
	}
	p := all[w.chance.IntN(len(all))]
	if p.stopped {
		return
	}
	p.stopped = true
	life := p.life
	d := w.chance.skewed(50*time.Millisecond, 8*time.Second)
	w.note("%-8s ! stops for %s", p.name, d)
	w.after(d, func() {
		if p.life == life {
			w.note("%-8s ! goes on", p.name)
			p.resume()
		}
	})
}

// drainOne has a broker drain a node, as its operator asks.
func (w *World) drainOne() {
	b, n := w.brokers[w.chance.IntN(len(w.brokers))], w.nodes[w.chance.IntN(len(w.nodes))]
	deadline := w.chance.between(time.Second, 6*time.Second)
	id := n.id
	b.run(func() {
		b.fx.Reset()
		w.note("%-8s ! is asked to drain %s within %s", b.name, n.name, deadline)
		b.core.DrainNode(id, deadline, &b.fx)
		b.apply()
	})
}

func (w *World) jumpOne() {
	all := w.processes()
	if len(all) == 0 {
		return
	}
	p := all[w.chance.IntN(len(all))]
	d := w.chance.skewed(100*time.Millisecond, 15*time.Second)
	if w.chance.in(0.25) {
		d = -w.chance.skewed(0, 2*time.Second)
	}
	p.skew += d
	w.note("%-8s ! its clock jumps by %s", p.name, d)
}

// heal ends all faults: what is cut is joined, what is stopped goes on, what
// crashed is started again.
func (w *World) heal() {
	w.note("%-8s ! all faults end", "world")
	for _, l := range w.links() {
		l.cut = [2]cut{}
	}
	for _, p := range w.processes() {
		p.resume()
	}
	for _, b := range w.brokers {
		if !b.alive && w.cell == nil {
			b.boot()
		}
	}
	if w.cell != nil {
		w.elect()
	}
	for _, n := range w.nodes {
		if !n.alive {
			n.boot()
		}
	}
}
