package front

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// slowReader is a client as a server knows it: how long he may take to read is said
// before he is written to, or after.
type slowReader struct {
	*httptest.ResponseRecorder

	until   time.Time
	written bool
	t       *testing.T
}

func (s *slowReader) SetWriteDeadline(until time.Time) error {
	if s.until = until; s.written {
		s.t.Errorf("once all is written, which the server may hold back, he has until %s", until)
	}
	return nil
}

func (s *slowReader) Write(b []byte) (int, error) {
	if s.written = true; s.until.IsZero() {
		s.t.Error("he may take for ever")
	}
	return s.ResponseRecorder.Write(b)
}

// Whoever does not read his answer keeps no place for ever.
func TestAnswerHasToBeRead(t *testing.T) {
	w := &slowReader{ResponseRecorder: httptest.NewRecorder(), t: t}
	send(w, http.StatusOK, make([]byte, small))
	if !w.written || w.until.IsZero() {
		t.Error("nothing was written, or it may be read for ever")
	}
}
