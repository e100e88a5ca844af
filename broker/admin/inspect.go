package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/session"
)

// Inspector is a Broker that knows of sessions and nodes one by one:
// *broker.Server.
type Inspector interface {
	InspectSession(ctx context.Context, id session.ID) (core.Inspection, error)
	InspectNode(ctx context.Context, node string) (core.Inspection, error)
}

// inspect shows one session or node and its calls that hung: GET
// /v1/inspect?session=ID or ?node=N, by id or name.
func (p *Pages) inspect(w http.ResponseWriter, r *http.Request) {
	if p.inspector == nil {
		refuse(w, http.StatusNotFound, "this broker inspects nothing")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), p.bound)
	defer cancel()
	var in core.Inspection
	var err error
	switch q := r.URL.Query(); {
	case q.Has("session") == q.Has("node"):
		refuse(w, http.StatusBadRequest, "want one of session and node")
		return
	case q.Has("session"):
		id, wrong := uuid.Parse(q.Get("session"))
		if wrong != nil {
			refuse(w, http.StatusBadRequest, "session is no id as status shows them")
			return
		}
		in, err = p.inspector.InspectSession(ctx, id)
	default:
		in, err = p.inspector.InspectNode(ctx, q.Get("node"))
	}
	switch {
	case errors.Is(err, broker.ErrUnknown):
		refuse(w, http.StatusNotFound, "no such session or node is known, and no call of it has hung of late")
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, err.Error())
	default:
		answer(w, http.StatusOK, &in)
	}
}
