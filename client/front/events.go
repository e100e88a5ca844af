package front

import (
	"bytes"
	"net/http"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/jsontext"
)

const typeEvents = "text/event-stream"

// eventsQuiet is how long a stream is silent before a comment shows that it is
// there.
const eventsQuiet = 15 * time.Second

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

// events answers with the progress of a call as it comes, and its end. What fails
// before anything was written is returned.
func (y *way) events(w http.ResponseWriter, p *client.Pending) error {
	s := &stream{w: w, control: http.NewResponseController(w)}
	steps := make(chan client.Body)
	go func() { // ends with the call, whose steps are taken until then
		defer close(steps)
		for b, err := range client.Progress[client.Body](p) {
			if err == nil {
				steps <- b
			}
		}
	}()
	silence := time.NewTicker(eventsQuiet)
	defer silence.Stop()
	for open := true; open; {
		var b client.Body
		select {
		case b, open = <-steps:
			if open {
				s.value("progress", b)
				silence.Reset(eventsQuiet)
			}
		case <-silence.C:
			s.write(": \n\n")
		}
	}
	var result client.Body
	if err := p.Wait(&result); err != nil {
		if !s.begun {
			return err
		}
		y.front.failed.Add(1)
		s.event("error", failureOf(err).text())
		return nil
	}
	s.value("result", result)
	return nil
}

func (s *stream) value(event string, b client.Body) {
	if b.Raw {
		s.event(event, jsontext.AppendBytes(nil, b.Bytes))
		return
	}
	text, err := jsontext.Append(nil, b.Bytes)
	if err != nil {
		s.event("error", failureOf(err).text())
		return
	}
	s.event(event, text)
}

// event writes one. Its text is JSON, which has no line breaks of its own.
func (s *stream) event(name string, text []byte) {
	s.write("event: " + name + "\ndata: " + string(bytes.ReplaceAll(text, []byte("\n"), []byte("\ndata: "))) + "\n\n")
}

func (s *stream) write(text string) {
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", typeEvents)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Accel-Buffering", "no") // a proxy before us passes them on at once
		s.w.WriteHeader(http.StatusOK)
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTime))
	_, _ = s.w.Write([]byte(text)) // no HTML, and not to be taken for it; who has gone ends the request's context, and with it the call
	_ = s.control.Flush()
}
