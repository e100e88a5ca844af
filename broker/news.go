package broker

import (
	"time"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/broker/feed"
	"github.com/limpet-rpc/limpet/internal/quiet"
	"github.com/limpet-rpc/limpet/session"
)

// news passes the core's events on to the feed. What peers can cause at will is
// told as seldom as it is logged, and sessions only while somebody listens.
type news struct{ bad quiet.Log }

func (n *news) event(f *feed.Feed, e *core.Event) {
	switch e.What {
	case core.EventBad:
		if _, may := n.bad.May(time.Now(), e.Peer); !may {
			return
		}
	case core.EventOpened, core.EventEnded:
		if !f.Heard() {
			return
		}
	}
	told := feed.Event{Time: time.Now(), What: e.What, Name: e.Name, Pool: e.Pool, Text: e.Text}
	if e.Node != 0 {
		told.Node = e.Node.String()
	}
	if e.Session != (session.ID{}) {
		told.Session = e.Session.String()
	}
	if e.Code != 0 {
		told.Code = e.Code.Error()
	}
	f.Tell(told)
}
