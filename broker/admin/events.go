package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/limpet-rpc/limpet/broker/feed"
)

// Teller is a Broker that says what happens, as it happens: *broker.Server.
type Teller interface{ Feed() *feed.Feed }

// MissedEvent is the name of the event that says that a listener was too slow,
// or came too late, for some; its data is {"missed": how many}.
const MissedEvent = "missed"

// Bounds of the event stream.
const (
	listenersMost = 16
	eventTime     = 10 * time.Second // for a listener to take what is written
	eventQuiet    = 15 * time.Second // after which a comment shows that the stream lives
)

// events streams what happens as server-sent events (WHATWG HTML, "Server-sent
// events"): id is an event's number, event what happened, data the feed.Event
// as JSON. It begins after the number in Last-Event-ID or ?after=, and without
// one with what is still kept.
func (p *Pages) events(w http.ResponseWriter, r *http.Request) {
	if p.teller == nil {
		refuse(w, http.StatusNotFound, "this broker tells no events")
		return
	}
	select {
	case p.listening <- struct{}{}:
		defer func() { <-p.listening }()
	default:
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("%d listen already", listenersMost))
		return
	}
	after, err := eventNumber(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.over, cancel)()
	f := p.teller.Feed()
	defer f.Listen()()
	s := stream{w: w, to: http.NewResponseController(w)}
	for err := s.begin(); err == nil; {
		after, err = s.next(ctx, f, after)
	}
}

func eventNumber(r *http.Request) (uint64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("after")
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no event's number", text)
	}
	return n, nil
}

// stream is one listener.
type stream struct {
	w  io.Writer
	to *http.ResponseController
}

// begin sends the head, and takes the limit off the time that the request may
// take.
func (s *stream) begin() error {
	if err := s.to.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return s.to.Flush()
}

// next writes what comes after a number, or a comment when nothing does for a
// while, and returns the number of the last.
func (s *stream) next(ctx context.Context, f *feed.Feed, after uint64) (uint64, error) {
	wait, cancel := context.WithTimeout(ctx, eventQuiet)
	defer cancel()
	events, missed, err := f.After(wait, after)
	if ctx.Err() != nil {
		return after, ctx.Err()
	}
	if err := s.to.SetWriteDeadline(time.Now().Add(eventTime)); err != nil {
		return after, err
	}
	if err != nil {
		if _, err := io.WriteString(s.w, ": nothing new\n\n"); err != nil {
			return after, err
		}
		return after, s.to.Flush()
	}
	if missed > 0 {
		if _, err := fmt.Fprintf(s.w, "event: %s\ndata: {\"missed\":%d}\n\n", MissedEvent, missed); err != nil {
			return after, err
		}
	}
	for i := range events {
		data, err := json.Marshal(&events[i])
		if err != nil {
			return after, err
		}
		after = events[i].Number
		if _, err := fmt.Fprintf(s.w, "id: %d\nevent: %s\ndata: %s\n\n", after, events[i].What, data); err != nil {
			return after, err
		}
	}
	return after, s.to.Flush()
}
