package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/limpet-rpc/limpet/internal/quiet"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/worker/core"
)

// noise writes the core's events to the log.
type noise struct {
	bad     quiet.Log
	brokers map[wire.Peer]string // their endpoints
}

func (q *noise) event(log *slog.Logger, e *core.Event) {
	switch e.What {
	case core.EventBad:
		if unsaid, ok := q.bad.May(time.Now(), e.Peer); ok {
			log.Warn(e.What, q.from(e.Peer), "code", e.Code.Error(), "text", e.Text, "unsaid", unsaid)
		}
	case core.EventOpened, core.EventEnded:
		if !log.Enabled(context.Background(), slog.LevelDebug) {
			return
		}
		log.Debug(e.What, "session", e.Session, "pool", e.Pool, "why", e.Text)
	case core.EventResized:
		log.Info(e.What, "pool", e.Pool, "text", e.Text)
	case core.EventRefusedBy, core.EventBrokerLost:
		log.Warn(e.What, q.from(e.Peer), "code", e.Code.Error(), "text", e.Text)
	default:
		log.Info(e.What, q.from(e.Peer), "text", e.Text)
	}
}

// from says whose doing it was: a broker has an endpoint, any other peer a number.
func (q *noise) from(p wire.Peer) slog.Attr {
	if endpoint, is := q.brokers[p]; is {
		return slog.String("broker", endpoint)
	}
	return slog.Any("peer", p)
}
