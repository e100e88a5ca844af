package sim

// In some worlds the sessions of a node share lanes, as package worker's threads
// are: whatever runs on one has it alone.

// laneOf names the lane of a task; not ok: it has a goroutine of its own.
func laneOf(t *task) (at seat, ok bool) {
	return seat{t.session.Pool(), t.session.Lane()}, t.session.Lane() >= 0
}

// enter notes that an Open, a handler or a Close begins.
func (t *task) enter(what string) {
	at, ok := laneOf(t)
	if !ok {
		return
	}
	n := t.node
	if other := n.lanes[at]; other != nil {
		n.w.fail("%s: %s of session %s begins on lane %d of pool %s while session %s runs there", n.name, what, t.session.ID(), at.slot, at.pool, other.session.ID())
	}
	if t.lane >= 0 && t.lane != at.slot {
		n.w.fail("%s: session %s ran on lane %d, and runs on %d", n.name, t.session.ID(), t.lane, at.slot)
	}
	t.lane = at.slot
	n.lanes[at] = t
}

// exit notes its end.
func (t *task) exit() {
	if at, ok := laneOf(t); ok {
		delete(t.node.lanes, at)
	}
}

// strand notes which sessions lose their lane to one that hangs.
func (n *nodePart) strand(hung *task) {
	at, ok := laneOf(hung)
	if !ok {
		return
	}
	for _, t := range n.seats {
		if other, _ := laneOf(t); t != hung && other == at {
			t.record.strands = true
		}
	}
}

// waits reports that its Open has not had its turn.
func (t *task) waits() bool { return t.session.Lane() >= 0 && t.lane < 0 && !t.node.w.plan.bare }
