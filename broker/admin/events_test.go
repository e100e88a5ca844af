package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker/admin"
	"github.com/limpet-rpc/limpet/broker/feed"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// listen returns the stream's events, by line of data.
func listen(t *testing.T, url, last string) <-chan feed.Event {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", last)
	answer, err := http.DefaultClient.Do(r) //nolint:bodyclose // by the goroutine below
	if err != nil {
		t.Fatal(err)
	}
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("%d, %s", answer.StatusCode, kind)
	}
	events := make(chan feed.Event, 100)
	go func() {
		defer close(events)
		defer answer.Body.Close()
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			if data, is := strings.CutPrefix(lines.Text(), "data: "); is {
				var e feed.Event
				if json.Unmarshal([]byte(data), &e) == nil {
					events <- e
				}
			}
		}
	}()
	return events
}

func TestEventsShowSessionsAsTheyHappen(t *testing.T) {
	b := newBroker(t, time.Millisecond)
	pages := httptest.NewServer(admin.NewPages(b))
	t.Cleanup(pages.Close)
	events := listen(t, pages.URL+"/v1/events", "")
	ctx := t.Context()
	start(t, func(ctx context.Context) error {
		return worker.Serve(ctx, worker.Options{Broker: b.Endpoint(), Name: "shell", Logger: quiet()}, counter())
	})
	var last uint64
	until := func(what string) {
		for e := range events {
			if e.Number <= last {
				t.Fatalf("number %d after %d", e.Number, last)
			}
			if last = e.Number; e.What == what {
				return
			}
		}
		t.Fatalf("the stream ends before %q", what)
	}
	until("node joined")
	c, err := client.Dial(ctx, b.Endpoint(), client.WithLogger(quiet()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Open(ctx, "counter")
	if err != nil {
		t.Fatal(err)
	}
	until("session opened")
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	until("session ended")
	if e := <-listen(t, pages.URL+"/v1/events", "1"); e.Number != 2 {
		t.Errorf("after number 1 comes %d", e.Number)
	}
}

func TestListenersAreBounded(t *testing.T) {
	b := newBroker(t, time.Millisecond)
	pages := httptest.NewServer(admin.NewPages(b))
	t.Cleanup(pages.Close)
	for range 16 {
		listen(t, pages.URL+"/v1/events", "")
	}
	answer, err := http.Get(pages.URL + "/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the 17th listener gets %d", answer.StatusCode)
	}
}

func TestEventsOfNoNumber(t *testing.T) {
	code, body := get(t, admin.NewPages(newBroker(t, 0)), "/v1/events?after=yesterday")
	if code != http.StatusBadRequest || !strings.Contains(body, "yesterday") {
		t.Errorf("%d %s", code, body)
	}
}

func TestListenersEndWithTheServer(t *testing.T) {
	s, err := admin.Listen("127.0.0.1:0", admin.NewPages(newBroker(t, time.Millisecond)), quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	events := listen(t, "http://"+s.Address()+"/v1/events", "")
	cancel()
	for range events { // until the stream ends
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
