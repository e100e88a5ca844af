package broker

import (
	"context"
	"log/slog"
	"time"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/broker/feed"
	"github.com/limpet-rpc/limpet/internal/quiet"
	"github.com/limpet-rpc/limpet/session"
)

// news writes the core's events to the log and tells them to the feed. What
// peers can cause at will comes once a second for each, and sessions only to
// whoever listens.
type news struct{ bad quiet.Log }

func (n *news) event(log *slog.Logger, f *feed.Feed, e *core.Event) {
	switch e.What {
	case core.EventBad:
		unsaid, ok := n.bad.May(time.Now(), e.Peer)
		if !ok {
			return
		}
		log.Warn(e.What, "peer", e.Peer, "code", e.Code.Error(), "text", e.Text, "unsaid", unsaid)
	case core.EventOpened, core.EventEnded, core.EventBroadcast, core.EventBroadcastOver:
		if log.Enabled(context.Background(), slog.LevelDebug) {
			log.Debug(e.What, "session", e.Session, "pool", e.Pool, "node", e.Name, "code", e.Code.Error(), "text", e.Text)
		}
		if !f.Heard() {
			return
		}
	case core.EventResized:
		log.Info(e.What, "node", e.Node, "name", e.Name, "pool", e.Pool, "text", e.Text)
	case core.EventNodeLost, core.EventNodeCut:
		log.Warn(e.What, "node", e.Node, "name", e.Name, "text", e.Text)
	default:
		log.Info(e.What, "node", e.Node, "name", e.Name, "text", e.Text)
	}
	f.Tell(told(e))
}

// told is an event as the feed has it.
func told(e *core.Event) feed.Event {
	t := feed.Event{Time: time.Now(), What: e.What, Name: e.Name, Pool: e.Pool, Text: e.Text}
	if e.Node != 0 {
		t.Node = e.Node.String()
	}
	if e.Session != (session.ID{}) {
		t.Session = e.Session.String()
	}
	if e.Code != 0 {
		t.Code = e.Code.Error()
	}
	return t
}
