package broker

import (
	"context"
	"log/slog"
	"time"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/internal/quiet"
)

// noise writes the core's events to the log.
type noise struct{ bad quiet.Log }

func (q *noise) event(log *slog.Logger, e *core.Event) {
	switch e.What {
	case core.EventBad:
		if unsaid, ok := q.bad.May(time.Now(), e.Peer); ok {
			log.Warn(e.What, "peer", e.Peer, "code", e.Code.Error(), "text", e.Text, "unsaid", unsaid)
		}
	case core.EventOpened, core.EventEnded:
		if !log.Enabled(context.Background(), slog.LevelDebug) {
			return
		}
		log.Debug(e.What, "session", e.Session, "pool", e.Pool, "node", e.Name, "code", e.Code.Error())
	case core.EventNodeLost, core.EventNodeCut:
		log.Warn(e.What, "node", e.Node, "name", e.Name, "text", e.Text)
	default:
		log.Info(e.What, "node", e.Node, "name", e.Name, "text", e.Text)
	}
}
