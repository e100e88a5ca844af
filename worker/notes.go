package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/limpet-rpc/limpet/internal/startrec"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// notes is the node's start record: what its slots have begun.
type notes struct {
	dir    string         // empty: none is kept
	every  time.Duration  // how often the dead are looked for
	first  map[string]int // by pool: the record's slot of its slot 0
	record *startrec.Record
}

// open makes the record. A node works without one: what it had not started is
// then unknown after its death, so that is said once.
func (n *notes) open(log *slog.Logger, o Options, id session.NodeID, pools []core.Pool) {
	n.dir = o.Records
	if n.dir == startrec.Off {
		n.dir = ""
		return
	}
	if n.dir == "" {
		n.dir = startrec.DefaultDir()
	}
	n.every = o.Beat / 5
	if n.every <= 0 {
		n.every = 200 * time.Millisecond
	}
	n.first = map[string]int{}
	slots := 0
	for _, p := range pools {
		n.first[p.Name] = slots
		slots += p.Capacity()
	}
	r, err := startrec.Create(n.dir, id, slots)
	if err != nil {
		log.Warn("no start record: calls in flight are of unknown outcome if this node dies", "error", err)
		n.dir = ""
		return
	}
	n.record = r
}

// slot is the note of one slot.
func (n *notes) slot(pool string, worker int) startrec.Slot {
	if n.record == nil {
		return startrec.Slot{}
	}
	return n.record.Slot(n.first[pool] + worker)
}

// close takes the record away: its node has nothing open any more.
func (n *notes) close(log *slog.Logger) {
	if n.record == nil {
		return
	}
	if err := n.record.Remove(n.dir); err != nil {
		log.Warn("the start record could not be removed", "error", err)
	}
}

// watchTheDead reports nodes of this machine that have died, until ctx ends. A
// node that no broker knows leaves their records to somebody who can tell.
func (n *node) watchTheDead(ctx context.Context) {
	if n.notes.dir == "" {
		return
	}
	look := time.NewTicker(n.notes.every)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		if !n.registered() {
			continue
		}
		dead, err := startrec.Collect(n.notes.dir)
		if err != nil {
			n.log.Debug("look for start records", "error", err)
		}
		for _, o := range dead {
			n.log.Info("a node of this machine is dead", "node", o.Node, "sessions", len(o.Started))
			n.onLoop(func(fx *core.Effects) { n.core.Obituary(time.Now(), o.Node, o.Started, o.Cause, fx) })
		}
	}
}
