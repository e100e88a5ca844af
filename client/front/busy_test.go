package front

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// busyWriter notes how many requests count as under way while one is answered.
type busyWriter struct {
	*httptest.ResponseRecorder
	front *Front
	busy  int64
}

func (w *busyWriter) Write(b []byte) (int, error) {
	w.busy = w.front.busy.Load()
	return w.ResponseRecorder.Write(b)
}

// A request that is refused because too many are under way is none of them, however
// long its client takes to read that.
func TestRefusedRequestIsNotUnderWay(t *testing.T) {
	f := &Front{most: 1, log: slog.New(slog.DiscardHandler)}
	f.busy.Store(1)
	w := &busyWriter{ResponseRecorder: httptest.NewRecorder(), front: f}
	y := &way{front: f, route: &Route{}}
	y.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Fatalf("status %d, want a refusal", w.Code)
	}
	if w.busy != 1 || f.busy.Load() != 1 {
		t.Errorf("%d requests under way while one is refused, %d after it, want 1", w.busy, f.busy.Load())
	}
}
