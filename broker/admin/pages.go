package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/internal/zmqio"
)

// LoopBound is how long the broker's loop may take to come round before it
// counts as not working.
const LoopBound = 2 * time.Second

// requestsMost is how many requests are answered at once; one more is told to
// come again.
const requestsMost = 64

// Broker is what the pages are about: *broker.Server.
type Broker interface {
	Status(ctx context.Context) (core.Status, error)  // with sessions, queue places and broadcasts
	Summary(ctx context.Context) (core.Status, error) // without them
	Traffic() zmqio.Stats
}

// Pages answers requests. It is safe for concurrent use.
type Pages struct {
	// fixed after NewPages
	summary, status glance
	bound           time.Duration
	drainer         Drainer // nil where nobody can be drained
	inspector       Inspector
	teller          Teller // nil where nothing is told
	celled          Celled // nil where nobody is elected
	byPath          map[string]http.Handler
	busy            chan struct{} // holds one for each request that is being answered
	listening       chan struct{} // holds one for each listener
	over            context.Context
	end             context.CancelFunc // lets the listeners go
}

// NewPages returns the pages of a broker, which may not run yet.
func NewPages(b Broker) *Pages {
	p := &Pages{
		summary: glance{ask: b.Summary}, status: glance{ask: b.Status}, bound: LoopBound, busy: make(chan struct{}, requestsMost),
	}
	p.drainer, _ = b.(Drainer)
	p.inspector, _ = b.(Inspector)
	p.teller, _ = b.(Teller)
	p.celled, _ = b.(Celled)
	p.listening = make(chan struct{}, listenersMost)
	p.over, p.end = context.WithCancel(context.Background()) //nolint:gosec // ended by the server that shows them
	p.byPath = map[string]http.Handler{
		"/healthz":    http.HandlerFunc(p.health),
		"/readyz":     http.HandlerFunc(p.ready),
		"/metrics":    promhttp.HandlerFor(newRegistry(&p.summary, b.Traffic, p.bound), promhttp.HandlerOpts{}),
		"/v1/status":  http.HandlerFunc(p.snapshot),
		"/v1/events":  http.HandlerFunc(p.events),
		"/v1/drain":   http.HandlerFunc(p.drain),
		"/v1/inspect": http.HandlerFunc(p.inspect),
	}
	return p
}

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page, known := p.byPath[r.URL.Path]
	switch {
	case !known:
		refuse(w, http.StatusNotFound, "no such page; there are /healthz, /readyz, /metrics, /v1/status, /v1/inspect, /v1/events and /v1/drain")
		return
	case r.URL.Path != "/v1/drain" && r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "only GET and HEAD are served")
		return
	case r.ContentLength != 0: // -1: it does not say how long
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusRequestEntityTooLarge, "a request has no body here")
		return
	}
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
		page.ServeHTTP(w, r)
	default:
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "too many requests at once")
	}
}

// condition is what /healthz and /readyz answer.
type condition struct {
	Status string  `json:"status"` // ok or unavailable
	Reason string  `json:"reason,omitempty"`
	Round  float64 `json:"loop_round_seconds"`
}

func (p *Pages) health(w http.ResponseWriter, r *http.Request) {
	l, err := p.summary.at(r.Context(), p.bound)
	if err != nil {
		answer(w, http.StatusServiceUnavailable, condition{Status: "unavailable", Reason: err.Error()})
		return
	}
	answer(w, http.StatusOK, condition{Status: "ok", Round: l.took.Seconds()})
}

func (p *Pages) ready(w http.ResponseWriter, r *http.Request) {
	l, err := p.summary.at(r.Context(), p.bound)
	switch {
	case err != nil:
		answer(w, http.StatusServiceUnavailable, condition{Status: "unavailable", Reason: err.Error()})
	case l.st.Recovering:
		answer(w, http.StatusServiceUnavailable, condition{
			Status: "unavailable", Reason: "recovering: waiting for nodes to come back", Round: l.took.Seconds(),
		})
	default:
		answer(w, http.StatusOK, condition{Status: "ok", Round: l.took.Seconds()})
	}
}

func (p *Pages) snapshot(w http.ResponseWriter, r *http.Request) {
	l, err := p.status.at(r.Context(), p.bound)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	page := Page{Status: l.st}
	if p.celled != nil {
		cell := p.celled.Cell()
		page.Cell = &cell
	}
	answer(w, http.StatusOK, &page)
}

func refuse(w http.ResponseWriter, status int, why string) {
	answer(w, status, struct {
		Error string `json:"error"`
	}{why})
}

func answer(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) //nolint:errchkjson // plain structs encode, and an asker that is gone need not be told
}
