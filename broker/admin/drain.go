package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/session"
)

// DrainHeader must be set, to anything, on a request that changes something: a
// page of another site can make a browser post here, but not with a header of
// its own.
const DrainHeader = "Limpet-Drain"

// Drainer is a Broker whose nodes can be drained: *broker.Server.
type Drainer interface {
	DrainNode(ctx context.Context, node string, deadline time.Duration) (session.NodeID, error)
}

// Drained answers a drain: the node has been asked, and ends when its sessions
// have or the deadline has passed.
type Drained struct {
	Node string `json:"node"` // its id
}

// drain asks a node, named by id or name, to end: POST /v1/drain?node=N&deadline=5m.
func (p *Pages) drain(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		refuse(w, http.StatusMethodNotAllowed, "only POST is served")
		return
	case p.drainer == nil:
		refuse(w, http.StatusNotFound, "this broker drains nobody")
		return
	case r.Header.Get(DrainHeader) == "":
		refuse(w, http.StatusForbidden, "the header "+DrainHeader+" is missing")
		return
	}
	q := r.URL.Query()
	deadline := time.Duration(0)
	if text := q.Get("deadline"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			refuse(w, http.StatusBadRequest, "deadline is no duration like 30s or 5m")
			return
		}
		deadline = d
	}
	if q.Get("node") == "" {
		refuse(w, http.StatusBadRequest, "node is missing")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), p.bound)
	defer cancel()
	id, err := p.drainer.DrainNode(ctx, q.Get("node"), deadline)
	switch {
	case errors.Is(err, broker.ErrNoNode):
		refuse(w, http.StatusNotFound, err.Error())
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, err.Error())
	default:
		answer(w, http.StatusOK, Drained{Node: id.String()})
	}
}
