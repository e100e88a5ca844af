package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// perHit is a web server whose handler works in the hit's session.
func perHit(t *testing.T, cl *client.Client, handler func(w http.ResponseWriter, r *http.Request)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(client.PerHit(cl, "tally")(http.HandlerFunc(handler)))
	s.Config.ErrorLog = nil
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// browser asks once a hit: on a connection that is used again, a failed GET is
// asked again.
var browser = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func get(t *testing.T, url string) (body string, err error) {
	t.Helper()
	r, err := browser.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	return fmt.Sprint(r.StatusCode, " ", string(b)), err
}

// A hit that asks for no session opens none; one that does has the same for
// all its calls, and it is closed when the hit ends, however it ends.
func TestPerHit(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 1)
	c.serve(t, worker.Options{}, y.pool)
	away := make(chan struct{})
	s := perHit(t, c.dial(t), func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/nothing" {
			return
		}
		for i := range 3 {
			s, err := client.HitSession(r.Context())
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			n, err := client.Call[int](r.Context(), s, "add", 1)
			if err != nil || n != i+1 {
				t.Errorf("call %d counts to %d, %v", i+1, n, err)
			}
		}
		switch r.URL.Path {
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/away":
			close(away)
			<-r.Context().Done()
		case "/busy":
			s, _ := client.HitSession(r.Context())
			close(away)
			if err := s.Call(r.Context(), "block", "hit", nil); !errors.Is(err, session.ErrCancelled) {
				t.Errorf("a call whose hit went away ended with %v, want cancelled", err)
			}
		}
		_, _ = io.WriteString(w, "done")
	})
	closed := func(hit string) {
		t.Helper()
		if why := await(t, y.closes, "Close after "+hit); !errors.Is(why, session.ErrSessionClosed) {
			t.Errorf("%s: closed because %v, want closed by its holder", hit, why)
		}
		eventually(t, "the slot is free after "+hit, func() bool { return c.pool(t, "tally").Free == 1 })
	}
	if body, err := get(t, s.URL+"/nothing"); err != nil || body != "200 " {
		t.Errorf("%q, %v", body, err)
	}
	if n := y.opens.Load(); n != 0 {
		t.Errorf("%d sessions were opened for a hit that asked for none", n)
	}
	for range 3 {
		if body, err := get(t, s.URL+"/work"); err != nil || body != "200 done" {
			t.Errorf("%q, %v", body, err)
		}
		closed("a good hit")
	}
	if body, err := get(t, s.URL+"/panic"); err == nil {
		t.Errorf("a handler that panicked answered %q", body)
	}
	closed("a panic")
	for _, path := range []string{"/away", "/busy"} {
		away = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		left := make(chan error, 1)
		go func() {
			resp, err := browser.Do(r)
			if err == nil {
				_ = resp.Body.Close()
			}
			left <- err
		}()
		await(t, closing(away), "the hit is in the middle")
		cancel()
		if err := await(t, left, "the browser has left"); err == nil {
			t.Error("it got an answer")
		}
		closed(path)
	}
	if n := y.opens.Load(); n != 6 {
		t.Errorf("%d sessions were opened, want 6", n)
	}
}

// closing turns the closing of a channel into a value.
func closing(c <-chan struct{}) <-chan bool {
	b := make(chan bool, 1)
	go func() { <-c; b <- true }()
	return b
}

// A hit that finds no slot gets the error every time it asks; outside of a hit
// there is no session.
func TestPerHitWithoutSlot(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	cl := c.dial(t)
	s := perHit(t, cl, func(w http.ResponseWriter, r *http.Request) {
		_, first := client.HitSession(r.Context())
		_, second := client.HitSession(r.Context())
		if !errors.Is(first, session.ErrPoolUnknown) || !errors.Is(second, session.ErrPoolUnknown) {
			t.Errorf("%v, then %v; want unknown pool", first, second)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if body, err := get(t, s.URL); err != nil || body != "503 " {
		t.Errorf("%q, %v", body, err)
	}
	if _, err := client.HitSession(t.Context()); err == nil || !contains(err.Error(), "PerHit") {
		t.Errorf("outside of a hit: %v", err)
	}
}
