// Package front is the web front end of the example: every hit opens a session of
// its own, makes its calls there and answers with JSON. It knows no Tcl; a script is
// text to it.
//
//	POST /run?x=3        runs the script in the body
//	GET  /run/NAME?x=3   runs the script of that name
//	GET  /scripts        lists the names
//	GET  /hits           lists the hits that are running, and where
//	GET  /healthz        answers as long as this process works
package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"

	"github.com/limpet-rpc/limpet/examples/perhit/calls"
	"github.com/limpet-rpc/limpet/examples/perhit/scripts"
)

// What a hit may bring along.
const (
	maxScript    = 1 << 20 // bytes
	maxVariables = 32
)

// Session is what a hit needs of a client.Session.
type Session interface {
	ID() session.ID
	Call(ctx context.Context, method string, arg, reply any, opts ...client.CallOption) error
}

// Front answers hits. It is an http.Handler, safe for any number of hits at once.
type Front struct {
	// fixed after New
	timeout time.Duration
	session func(ctx context.Context) (Session, error)
	mux     *http.ServeMux

	running running
}

// New is a front whose hits take their sessions from c, wait at most wait for a free
// worker and are given up after timeout.
func New(c *client.Client, wait, timeout time.Duration) *Front {
	perHit := client.PerHit(c, calls.Pool, client.WithWait(wait))
	return newFront(timeout, perHit, func(ctx context.Context) (Session, error) {
		return client.HitSession(ctx)
	})
}

// newFront builds the routes; perHit must wrap every handler that asks for a session.
func newFront(timeout time.Duration, perHit func(http.Handler) http.Handler, session func(context.Context) (Session, error)) *Front {
	f := &Front{timeout: timeout, session: session, mux: http.NewServeMux()}
	f.mux.Handle("POST /run", f.bounded(perHit(http.HandlerFunc(f.runBody))))
	f.mux.Handle("GET /run/{name}", f.bounded(perHit(http.HandlerFunc(f.runNamed))))
	f.mux.HandleFunc("GET /scripts", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, scripts.Names()) })
	f.mux.HandleFunc("GET /hits", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, f.running.list(time.Now())) })
	f.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return f
}

// ServeHTTP answers one hit.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.mux.ServeHTTP(w, r) }

// bounded gives a hit its deadline, so that opening, calling and waiting all end.
func (f *Front) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), f.timeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (f *Front) runBody(w http.ResponseWriter, r *http.Request) {
	script, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxScript))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		refusef(w, http.StatusRequestEntityTooLarge, "the script is longer than %d bytes", tooLarge.Limit)
		return
	}
	if err != nil {
		refusef(w, http.StatusBadRequest, "read the script: %v", err)
		return
	}
	f.run(w, r, "body", string(script))
}

func (f *Front) runNamed(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	script, ok := scripts.Source(name)
	if !ok {
		refusef(w, http.StatusNotFound, "no script %q; GET /scripts lists them", name)
		return
	}
	f.run(w, r, name, script)
}

// run is the hit: set up, evaluate, collect, all in the hit's one session.
func (f *Front) run(w http.ResponseWriter, r *http.Request, name, script string) {
	variables, err := variablesOf(r.URL.RawQuery, name)
	if err != nil {
		refusef(w, http.StatusBadRequest, "%v", err)
		return
	}
	h := f.running.enter(name, time.Now())
	defer f.running.leave(h)

	result, made, err := f.calls(r.Context(), h, variables, script)
	got := f.running.answer(h)
	got.Calls = made
	if err != nil {
		status, failed := failure(err)
		got.Error, got.Kind, got.Outcome = failed.Error, failed.Kind, failed.Outcome
		answer(w, status, got)
		return
	}
	got.Result = result
	answer(w, http.StatusOK, got)
}

// calls makes the calls of a hit, and counts them. It holds the worker to Limpet's
// promise: all of them ran in one place, and no others did.
func (f *Front) calls(ctx context.Context, h *hit, variables []calls.Variable, script string) (result string, made int, err error) {
	s, err := f.session(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("open a session: %w", err)
	}
	call := func(method string, arg, reply any) error {
		made++
		return s.Call(ctx, method, arg, reply)
	}
	var set, evaluated calls.Place
	for _, v := range variables {
		if err := call(calls.Set, v, &set); err != nil {
			return "", made, err
		}
		f.running.place(h, s.ID(), set)
	}
	if err := call(calls.Eval, calls.Script{Script: script}, &evaluated); err != nil {
		return "", made, err
	}
	var got calls.Collected
	if err := call(calls.Collect, calls.Names{Names: []string{calls.ResultName}}, &got); err != nil {
		return "", made, err
	}
	if set != evaluated || set != got.Place || got.Calls != made {
		return "", made, fmt.Errorf("the session moved: set on %+v, eval on %+v, collect on %+v; %d calls made, %d counted there",
			set, evaluated, got.Place, made, got.Calls)
	}
	return got.Values[calls.ResultName], made, nil
}

// variablesOf are the hit's variables, sorted: its script's name as "hit", then one
// for each parameter of the query.
func variablesOf(query, name string) ([]calls.Variable, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("read the query: %w", err)
	}
	if len(values) > maxVariables {
		return nil, fmt.Errorf("%d parameters, at most %d are taken", len(values), maxVariables)
	}
	variables := []calls.Variable{{Name: "hit", Value: name}}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if key == "" || len(values[key]) != 1 {
			return nil, fmt.Errorf("parameter %q: want a name and one value", key)
		}
		variables = append(variables, calls.Variable{Name: key, Value: values[key][0]})
	}
	return variables, nil
}

// answer writes v as one line of JSON.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Debug("answer not delivered", "error", err) // the client has gone
	}
}

// refusef answers a hit that never got as far as a session.
func refusef(w http.ResponseWriter, status int, format string, args ...any) {
	answer(w, status, Answer{Error: fmt.Sprintf(format, args...)})
}
