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
			who, whose := q.from(e.Peer)
			log.Warn(e.What, who, whose, "code", e.Code.Error(), "text", e.Text, "unsaid", unsaid)
		}
	case core.EventOpened, core.EventEnded:
		if !log.Enabled(context.Background(), slog.LevelDebug) {
			return
		}
		log.Debug(e.What, "session", e.Session, "pool", e.Pool, "why", e.Text)
	case core.EventResized:
		log.Info(e.What, "pool", e.Pool, "text", e.Text)
	case core.EventRefusedBy, core.EventBrokerLost:
		who, whose := q.from(e.Peer)
		log.Warn(e.What, who, whose, "code", e.Code.Error(), "text", e.Text)
	default:
		who, whose := q.from(e.Peer)
		log.Info(e.What, who, whose, "text", e.Text)
	}
}

// from is a key and whose doing it was: a broker has an endpoint, any other peer a number.
func (q *noise) from(p wire.Peer) (who string, whose any) {
	if endpoint, is := q.brokers[p]; is {
		return "broker", endpoint
	}
	return "peer", p
}
