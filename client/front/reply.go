package front

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/jsontext"
	"github.com/limpet-rpc/limpet/session"
)

// Headers of an answer.
const (
	headerCode    = "Limpet-Code"
	headerOutcome = "Limpet-Outcome"
	headerSession = "Limpet-Session"
)

const typeJSON = "application/json"

// failure is an error as a request is told it.
type failure struct {
	Error   string       `json:"error"`
	Code    session.Code `json:"code,omitempty"`
	Outcome string       `json:"outcome,omitempty"`

	status int
	again  bool // it was not run: it may be asked again
}

// statusOf says what a code is in HTTP. What is not here is 500.
var statusOf = map[session.Code]int{
	session.ErrBadArgument: http.StatusBadGateway, session.ErrMethodUnknown: http.StatusBadGateway, // see failureOf
	session.ErrTooLarge: http.StatusRequestEntityTooLarge,

	session.ErrSessionUnknown: http.StatusGone, session.ErrSessionForeign: http.StatusGone, session.ErrSessionClosed: http.StatusGone,
	session.ErrSessionMoved: http.StatusGone, session.ErrSessionExpired: http.StatusGone, session.ErrSessionDrained: http.StatusGone,

	session.ErrPoolUnknown: http.StatusServiceUnavailable, session.ErrLabelsUnknown: http.StatusServiceUnavailable,
	session.ErrOverloaded: http.StatusServiceUnavailable, session.ErrNoWorker: http.StatusServiceUnavailable,
	session.ErrRecovering: http.StatusServiceUnavailable, session.ErrDraining: http.StatusServiceUnavailable,
	session.ErrUnreachable: http.StatusServiceUnavailable, session.ErrWithdrawn: http.StatusServiceUnavailable,
	session.ErrClientDone: http.StatusServiceUnavailable, session.ErrCancelled: http.StatusServiceUnavailable,

	session.ErrOpenFailed: http.StatusBadGateway, session.ErrWorkerLost: http.StatusBadGateway, session.ErrWorkerDied: http.StatusBadGateway,
	session.ErrReplyGone: http.StatusBadGateway, session.ErrBadMessage: http.StatusBadGateway,

	session.ErrWorkerHung: http.StatusGatewayTimeout, session.ErrDeadline: http.StatusGatewayTimeout,
	session.ErrHops: http.StatusLoopDetected,
}

func failureOf(err error) *failure {
	f := &failure{Error: err.Error(), status: http.StatusInternalServerError}
	if wrong, ok := errors.AsType[requestError](err); ok {
		f.status = wrong.status
		return f
	}
	if f.Code = session.CodeOf(err); f.Code == 0 {
		return f
	}
	outcome := session.Done
	switch {
	case errors.Is(err, session.Unknown):
		outcome = session.Unknown
	case errors.Is(err, session.NotRun):
		outcome = session.NotRun
	}
	f.Outcome = outcome.Error()
	if status, ok := statusOf[f.Code]; ok {
		f.status = status
	}
	if isBadArgument(err) {
		f.status = http.StatusBadRequest
	}
	if outcome == session.NotRun && (f.Code == session.ErrWorkerLost || f.Code == session.ErrWorkerDied) {
		f.status = http.StatusServiceUnavailable
	}
	f.again = outcome == session.NotRun && f.status == http.StatusServiceUnavailable
	return f
}

// write says what went wrong, or the route's fallback.
func (f *failure) write(w http.ResponseWriter, r *Route) {
	h := w.Header()
	if f.Code != 0 {
		h.Set(headerCode, strconv.Itoa(int(f.Code)))
		h.Set(headerOutcome, f.Outcome)
	}
	h.Set("Cache-Control", "no-store")
	if r != nil && r.Fallback != nil && f.status >= 502 && f.status <= 504 {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		if json.Valid([]byte(*r.Fallback)) {
			h.Set("Content-Type", typeJSON)
		}
		send(w, r.FallbackStatus, []byte(*r.Fallback))
		return
	}
	if f.again {
		h.Set("Retry-After", "1")
	}
	h.Set("Content-Type", typeJSON)
	send(w, f.status, f.text())
}

func (f *failure) text() []byte {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(f); err != nil {
		panic("front: encode a failure: " + err.Error()) // strings and a number
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// result writes what a call returned.
func (y *way) result(w http.ResponseWriter, b client.Body) {
	text, typ := b.Bytes, bytesType
	if !b.Raw {
		var err error
		if text, err = jsontext.Append(nil, b.Bytes); err != nil {
			failureOf(&session.Error{Code: session.ErrBadMessage, Text: "the call was done, its result is no JSON: " + err.Error()}).write(w, y.route)
			return
		}
		typ = jsonType
	}
	if y.typ != nil {
		typ = y.typ
	}
	w.Header()["Content-Type"] = typ
	send(w, http.StatusOK, text)
}

// writeTime is how long a client may take to read an answer.
const writeTime = 30 * time.Second

// small is what net/http holds back until the handler has returned: nobody waits
// here for a client to read it, and net/http says its length.
const small = 2 << 10

// Values of headers: nobody changes them where they are.
var (
	nosniff   = []string{"nosniff"}
	bytesType = []string{"application/octet-stream"}
	jsonType  = []string{typeJSON}
)

func send(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["X-Content-Type-Options"] = nosniff
	if len(body) >= small {
		h.Set("Content-Length", strconv.Itoa(len(body)))
		// Where the server can. It is net/http that takes it back, once all is written.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // no HTML, and not to be taken for it; who has gone reads nothing
}
