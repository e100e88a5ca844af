package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/bounded"
	"github.com/limpet-rpc/limpet/internal/quiet"
	"github.com/limpet-rpc/limpet/session"
)

// Front serves routes by pools. It is safe for concurrent use. A server of one's own
// around it says by its WriteTimeout, or not at all, how long a client may take to read
// a small answer; Server has its own bound.
type Front struct {
	// fixed after New
	client   *client.Client
	log      *slog.Logger
	mux      *http.ServeMux
	most     int64 // requests at once
	sessions map[string]*table
	keepers  []*keeper

	busy           atomic.Int64 // requests under way
	served, failed atomic.Uint64
	quiet          quiet.Log
}

// New returns a handler for the routes; its calls go by c, which the caller
// closes after Close. Log gets what ends with a status above 500, at most once a
// second; nil is slog.Default.
func New(c *client.Client, routes *Routes, log *slog.Logger) (*Front, error) {
	if log == nil {
		log = slog.Default()
	}
	own := *routes
	own.Routes = append([]Route(nil), routes.Routes...)
	own.Sessions = map[string]Sessions{}
	maps.Copy(own.Sessions, routes.Sessions)
	if err := own.check(); err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	f := &Front{client: c, log: log, mux: http.NewServeMux(), most: int64(own.Most), sessions: map[string]*table{}}
	for name, rule := range own.Sessions {
		f.sessions[name] = newTable(c, rule)
	}
	if own.Health != off {
		f.mux.HandleFunc("GET "+own.Health, f.health)
	}
	for i := range own.Routes {
		f.mux.Handle(own.Routes[i].Path, f.way(&own.Routes[i]))
	}
	return f, nil
}

// Close ends the sessions that the front keeps. Requests under way should have
// ended.
func (f *Front) Close(ctx context.Context) error {
	for _, k := range f.keepers {
		k.close()
	}
	var all []error
	for _, t := range f.sessions {
		all = append(all, t.close(ctx))
	}
	return errors.Join(all...)
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.mux.ServeHTTP(w, r) }

// health says whether requests can be served: a broker is there.
func (f *Front) health(w http.ResponseWriter, _ *http.Request) {
	status, word := http.StatusOK, "ok"
	if !f.client.Connected() {
		status, word = http.StatusServiceUnavailable, "no broker answers"
	}
	text, err := json.Marshal(struct {
		Status string `json:"status"`
		Busy   int64  `json:"requests"` // under way
		Served uint64 `json:"served"`
		Failed uint64 `json:"failed"` // of them
	}{word, f.busy.Load(), f.served.Load(), f.failed.Load()})
	if err != nil {
		panic("front: encode health: " + err.Error()) // strings and numbers
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "no-store")
	send(w, status, text)
}

// way serves one route.
type way struct {
	front  *Front
	route  *Route
	reader *reader
	opts   []client.OpenOption
	calls  []client.CallOption
	typ    []string // of its answers, nil: as they are
	table  *table   // of its users' sessions, or nil
	keeper *keeper  // of its own, or nil: every request is a session of one call
}

func (f *Front) way(r *Route) *way {
	y := &way{front: f, route: r, reader: newReader(r), table: f.sessions[r.Session]}
	if r.Hops > 0 {
		y.calls = append(y.calls, client.WithHops(r.Hops))
	}
	wait := r.Wait.Duration
	if wait <= 0 {
		wait = r.Deadline.Duration + time.Second // the deadline comes first
	}
	y.opts = []client.OpenOption{
		client.WithLatePools(), client.WithWait(wait), client.WithPriority(r.Priority), client.WithLabels(r.Labels), client.WithCall(y.calls...),
	}
	if r.Type != "" {
		y.typ = []string{r.Type}
	}
	if r.Keep > 0 {
		y.keeper = newKeeper(f.client, r, y.opts)
		f.keepers = append(f.keepers, y.keeper)
	}
	return y
}

var errFull = &session.Error{Code: session.ErrOverloaded, Outcome: session.NotRun, Text: "as many requests as may be are under way"}

// ServeHTTP implements http.Handler.
func (y *way) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := y.front
	f.served.Add(1)
	if !f.enter() {
		y.fail(w, errFull)
		return
	}
	defer f.busy.Add(-1)
	ctx := bounded.New(traced(r), y.route.Deadline.Duration)
	defer ctx.Release()
	arg, err := y.reader.argument(ctx, w, r)
	if err == nil {
		err = y.serve(ctx, w, r, arg)
	}
	if err != nil {
		y.fail(w, err)
	}
}

// enter counts one more request, unless as many as may be are under way.
func (f *Front) enter() bool {
	for {
		busy := f.busy.Load()
		if busy >= f.most {
			return false
		}
		if f.busy.CompareAndSwap(busy, busy+1) {
			return true
		}
	}
}

// serve makes the call and answers with its result, and makes it again where it
// was lost and that is allowed; where it returns an error nothing has been written.
func (y *way) serve(ctx context.Context, w http.ResponseWriter, r *http.Request, arg argument) error {
	for try := 1; ; try++ {
		err := y.try(ctx, w, r, arg)
		if err == nil || try == triesMost || !y.again(err) || ctx.Err() != nil {
			return err
		}
	}
}

// triesMost is how often a call is made whose worker was lost.
const triesMost = 4

func (y *way) try(ctx context.Context, w http.ResponseWriter, r *http.Request, arg argument) error {
	in, err := y.session(ctx, w, r)
	if err != nil {
		return err
	}
	defer in.leave(y)
	s, route := in.session, y.route
	if route.Events || strings.Contains(r.Header.Get("Accept"), typeEvents) {
		if s != nil {
			return y.events(w, s.Go(ctx, route.Method, arg.any(), y.calls...))
		}
		return y.events(w, y.front.client.Go(ctx, route.Pool, route.Method, arg.any(), y.opts...))
	}
	var result client.Body
	switch {
	case s == nil:
		result, err = client.Do[client.Body](ctx, y.front.client, route.Pool, route.Method, arg.any(), y.opts...)
	case arg.value == nil:
		result, err = client.Call[client.Body](ctx, s, route.Method, arg.bytes, y.calls...)
	default:
		result, err = client.Call[client.Body](ctx, s, route.Method, arg.value, y.calls...)
	}
	if err == nil {
		y.result(w, result)
	}
	return err
}

// place is where a request's call is made. Who has got it leaves it after the call.
type place struct {
	session *client.Session // nil: one of its own
	kept    *kept           // of a table's, or nil
	held    *held           // of a keeper's, or nil
}

// session is where the request's call is to be made.
func (y *way) session(ctx context.Context, w http.ResponseWriter, r *http.Request) (place, error) {
	switch {
	case y.table != nil:
		k, err := y.table.of(ctx, w, r, y.opts)
		if err != nil {
			return place{}, err
		}
		return place{session: k.session, kept: k}, nil
	case y.keeper != nil:
		if wait := y.route.Wait.Duration; wait > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, wait, errNoTurn)
			defer cancel()
		}
		h, err := y.keeper.take(ctx)
		if err != nil {
			return place{}, err
		}
		return place{session: h.session, held: h}, nil
	}
	return place{}, nil
}

// errNoTurn ends the wait of a route for a session.
var errNoTurn = errors.New("no session came free in time")

// again reports that a call whose worker was lost may be made once more.
func (y *way) again(err error) bool {
	if y.table != nil {
		return y.table.anew(err)
	}
	switch session.CodeOf(err) {
	case session.ErrWorkerLost, session.ErrWorkerDied, session.ErrSessionDrained, session.ErrDraining:
		return errors.Is(err, session.NotRun) || y.route.Idempotent
	case session.ErrWorkerPanic, session.ErrWorkerHung: // by another request's call in the same session
		return errors.Is(err, session.NotRun)
	}
	return false
}

// leave gives a session back to its table or keeper, or ends it with the route's
// call.
func (in *place) leave(y *way) {
	switch {
	case in.held != nil:
		y.keeper.leave(in.held)
	case in.kept != nil:
		if y.route.End {
			y.table.end(in.kept)
		}
		y.table.leave(in.kept)
	}
}

// fail answers a request that failed.
func (y *way) fail(w http.ResponseWriter, err error) {
	f := y.front
	f.failed.Add(1)
	is := failureOf(err)
	if is.status >= http.StatusInternalServerError {
		if unsaid, may := f.quiet.May(time.Now(), 0); may {
			f.log.Warn("request failed", "route", y.route.Path, "status", is.status, "error", err, "unsaid", unsaid)
		}
	}
	is.write(w, y.route)
}

// queryOf are the parameters of a request's query.
func queryOf(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if q == nil {
		q = url.Values{}
	}
	return q, err
}
