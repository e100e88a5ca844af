package fire

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/limpet-rpc/limpet/session"

	"github.com/limpet-rpc/limpet/examples/perhit/front"
)

// hit is one hit with its answer and what came of it.
type hit struct {
	kind    kind
	start   time.Time
	took    time.Duration
	status  int // 0 where the front did not answer
	answer  front.Answer
	problem string // what is wrong with the answer; empty where it is right
	after   bool   // began after the kill
	lost    bool   // was on the killed worker, and said so
}

// fire makes the n-th hit and checks its answer.
func (f *firing) fire(ctx context.Context, k kind, n int) hit {
	h := hit{kind: k, start: time.Now()}
	err := f.exchange(ctx, &h, n)
	h.took = time.Since(h.start)
	if err != nil {
		h.problem = err.Error()
	} else {
		h.problem = k.right(n, h.status, h.answer)
	}
	return h
}

func (f *firing) exchange(ctx context.Context, h *hit, n int) error {
	query, body := h.kind.ask(n)
	method, path := http.MethodGet, "/run/"+h.kind.name
	if body != "" {
		method, path = http.MethodPost, "/run"
	}
	r, err := http.NewRequestWithContext(ctx, method, f.Front+path+"?"+query.Encode(), strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := f.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	h.status = resp.StatusCode
	if err := json.Unmarshal(text, &h.answer); err != nil {
		return fmt.Errorf("status %d, answer %.80q: %w", h.status, text, err)
	}
	return nil
}

// lostWith tells whether h is one that the kill may cost: under way at that moment,
// and answered with the typed error.
func lostWith(h hit, killed int64) bool {
	return killed != 0 && h.start.UnixNano() <= killed && h.start.Add(h.took).UnixNano() >= killed &&
		h.status == http.StatusServiceUnavailable && h.answer.Kind == session.ErrWorkerLost.Error()
}
