package tests

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/cache"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// These fail: there is no fix for them on this branch.

// E: WithWait bounds an open where no broker is.
func TestReviewWaitWithoutBroker(t *testing.T) {
	noLeaks(t)
	b, err := broker.New(broker.Options{Listen: "tcp://127.0.0.1:*", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, b.Run)
	cl := dial(t, b.Endpoint(), client.WithBeat(50*time.Millisecond, 2))
	stop()
	eventually(t, "the client knows", func() bool { return !cl.Connected() })
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	began := time.Now()
	_, err = cl.Open(ctx, "p", client.WithWait(300*time.Millisecond))
	if ctx.Err() != nil {
		t.Errorf("Open with a wait of 300 ms: after %s: %v", time.Since(began), err)
	}
	ctx2, cancel2 := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel2()
	began = time.Now()
	_, err = cache.New(cl, "p").Get(ctx2, "k")
	if ctx2.Err() != nil {
		t.Errorf("cache.Get, which fails after 2 s at the most: after %s: %v", time.Since(began), err)
	}
}

// L: the context of Session.Go reaches the handler, as that of Client.Go.
func TestReviewGoContext(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newWebbed(2)
	c.serve(t, worker.Options{}, w.pool)
	cl := c.dial(t)
	s := open(t, cl, "web")
	for name, begin := range map[string]func(ctx context.Context){
		"Client.Go":  func(ctx context.Context) { cl.Go(ctx, "web", "block", nil) },
		"Session.Go": func(ctx context.Context) { s.Go(ctx, "block", nil) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		begin(ctx)
		<-w.began
		cancel()
		select {
		case <-w.ended:
		case <-time.After(2 * time.Second):
			t.Errorf("%s: 2 s after its context has ended the handler has not heard of it", name)
		}
	}
	close(w.let)
}

// M: a route with a session keeps its wait, labels and priority, or says that it does not.
func TestReviewSessionRouteWait(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newWebbed(1)
	c.serve(t, worker.Options{}, w.pool)
	cl := c.dial(t)
	busy := open(t, cl, "web")
	defer closeSession(t, busy)
	s := site(t, cl, "[[route]]\npath=\"/u\"\nsession=\"user\"\nmethod=\"count\"\nwait=\"100ms\"\ndeadline=\"2s\"\npriority=8\nlabels={a=\"b\"}\n[session.user]\npool=\"web\"\ncookie=\"x\"\n")
	began := time.Now()
	got := ask(t, request(t, http.MethodGet, s.URL+"/u", ""))
	if took := time.Since(began); took > time.Second {
		t.Errorf("with a wait of 100 ms: %d %s after %s", got.status, got.body, took)
	}
}

// N: parts may be gathered again.
func TestReviewGatherTwice(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newWebbed(2).pool)
	cl := c.dial(t)
	p := client.NewPart("a", "web", "fail", nil)
	err := client.Gather(t.Context(), cl, p)
	again := client.Gather(t.Context(), cl, p)
	if err == nil || again == nil || err.Error() != again.Error() {
		t.Errorf("first %v\nthen  %v", err, again)
	}
}
