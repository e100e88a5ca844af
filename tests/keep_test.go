package tests

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// A route that keeps sessions makes its calls in few of them, gives them back
// when it is idle, and lets others have their turn while it is not.
func TestFrontKeepsSessions(t *testing.T) {
	c := newCell(t, broker.Options{})
	var mu sync.Mutex
	sessions := map[string]int{}
	p := worker.NewPool(worker.Config[struct{}]{Pool: "web", Slots: 2})
	worker.Handle(p, "note", func(ctx context.Context, _ struct{}, _ any) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		sessions[worker.SessionFrom(ctx).ID().String()]++
		return "noted", nil
	})
	c.serve(t, worker.Options{}, p)
	cl := c.dial(t)
	s := site(t, cl, route("/note", "note", "keep = 2", "ahead = 4"))
	note := func() {
		if got := ask(t, request(t, http.MethodGet, s.URL+"/note", "")); got.status != 200 || got.body != `"noted"` {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	for range 3 {
		note()
	}
	eventually(t, "what is not needed is given back", func() bool { return c.pool(t, "web").Free == 2 })
	var turns atomic.Int32 // of somebody else
	var all sync.WaitGroup
	for range 8 { // as many as both sessions take
		all.Go(func() {
			for turns.Load() < 3 {
				note()
			}
		})
	}
	for range 3 { // he has them all the same
		if _, err := client.Do[string](t.Context(), cl, "web", "note", 0); err != nil {
			t.Error(err)
		}
		turns.Add(1)
	}
	all.Wait()
	eventually(t, "nothing is left", func() bool { return c.pool(t, "web").Free == 2 && c.pool(t, "web").Waiting == 0 })
	mu.Lock()
	defer mu.Unlock()
	shared := 0 // how many sessions served more than one request
	for _, n := range sessions {
		if n > 1 {
			shared++
		}
	}
	if shared == 0 {
		t.Errorf("each of %d sessions served one call", len(sessions))
	}
}

// What goes wrong with a kept session is told as of any other, and a request whose
// worker was lost is made again.
func TestFrontKeptSessionsInTrouble(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newWebbed(1)
	stop := c.serve(t, worker.Options{}, w.pool)
	cl := c.dial(t)
	keep := "keep = 1"
	s := site(t, cl, route("/count", "count", keep, "idempotent = true")+route("/panic", "panic", keep)+
		route("/block", "block", keep, `deadline = "100ms"`)+route("/wait", "count", keep, `wait = "50ms"`)+
		route("/late", "count", keep, `deadline = "80ms"`)+
		strings.ReplaceAll(route("/nowhere", "count", keep, `deadline = "80ms"`), `"web"`, `"nowhere"`))
	check := func(path string, status int, text string) {
		t.Helper()
		if got := ask(t, request(t, http.MethodGet, s.URL+path, "")); got.status != status || !contains(got.body, text) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	check("/panic", 500, "as told")
	check("/panic", 500, "as told") // in another one
	check("/block", 504, "deadline passed")
	check("/nowhere", 504, "deadline passed")
	eventually(t, "the slot is free", func() bool { return c.pool(t, "web").Free == 1 })
	busy := open(t, cl, "web")
	check("/wait", 503, "no worker in time")
	check("/late", 504, "deadline passed")
	closeSession(t, busy)
	check("/count", 200, "1")
	stop() // and with it the session that is kept
	other := newWebbed(1)
	done := make(chan reply, 1)
	go func() { done <- ask(t, request(t, http.MethodGet, s.URL+"/count", "")) }()
	c.serve(t, worker.Options{}, other.pool)
	if got := await(t, done, "the answer"); got.status != 200 || got.body != "1" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A request whose neighbour in a kept session panics was not run: it is made
// again.
func TestNeighbourOfAPanicIsMadeAgain(t *testing.T) {
	for name, routes := range map[string]string{
		"kept for the route": route("POST /do", "do", "keep = 1", "ahead = 4"),
		"kept for a user":    "[session.all]\npool='web'\nheader='X-All'\n[[route]]\npath='POST /do'\nsession='all'\nmethod='do'\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t, broker.Options{})
			p := worker.NewPool(worker.Config[struct{}]{Pool: "web", Slots: 1})
			began, let := make(chan bool, 10), make(chan bool)
			worker.Handle(p, "do", func(_ context.Context, _ struct{}, what string) (string, error) {
				if what == "boom" {
					began <- true
					<-let
					panic("as told")
				}
				return "fine", nil
			})
			c.serve(t, worker.Options{}, p)
			s := site(t, c.dial(t), routes)
			first := ask(t, request(t, http.MethodPost, s.URL+"/do", `"first"`))
			do := func(what string) <-chan reply {
				done := make(chan reply, 1)
				r := request(t, http.MethodPost, s.URL+"/do", what)
				r.Header.Set("X-All", first.header.Get("X-All"))
				go func() { done <- ask(t, r) }()
				return done
			}
			boom := do(`"boom"`)
			await(t, began, "one runs")
			fine := do(`"fine"`)
			eventually(t, "the other is there", func() bool {
				return contains(ask(t, request(t, http.MethodGet, s.URL+"/healthz", "")).body, `"requests":2`)
			})
			close(let)
			if got := await(t, boom, "boom"); got.status != 500 {
				t.Errorf("%d %s", got.status, got.body)
			}
			if got := await(t, fine, "fine"); got.status != 200 || got.body != `"fine"` {
				t.Errorf("the neighbour: %d %s %v", got.status, got.body, got.header)
			}
		})
	}
}
