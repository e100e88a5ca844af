package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// Replies that are too many bytes together are given up, the oldest first; what
// was run stays known.
func TestPastGivesUpBodiesNotSessions(t *testing.T) {
	now := time.Now()
	p := newPast()
	const sessions, size = 100, 1 << 20
	for i := range sessions {
		s := &Session{
			tenancy: tenancy{id: session.ID{byte(i)}, open: session.OpenKey{Request: uuid.UUID{byte(i)}}, pool: &pool{}},
			callee:  *session.NewCallee[*Call](8, 8*size), why: endOnce,
		}
		s.callee.Arrive(1, 0, 1, 1, time.Time{}, &Call{}) //nolint:errcheck // a fresh callee takes its first call
		s.callee.Next(now)
		s.callee.Finish(1, &session.Reply{Body: make([]byte, size)})
		p.add(now, s)
	}
	if p.bytes > pastBytes {
		t.Errorf("%d bytes of replies are kept", p.bytes)
	}
	for i := range sessions {
		r, known := p.opened(session.OpenKey{Request: uuid.UUID{byte(i)}})
		if !known {
			t.Fatalf("session %d is forgotten", i)
		}
		reply, stored := r.replies.Stored(1)
		gone := i < sessions-pastBytes/size
		if !stored || (reply.Code == session.ErrReplyGone) != gone || (len(reply.Body) == 0) != gone {
			t.Errorf("session %d: stored %v, code %v, %d bytes", i, stored, reply.Code, len(reply.Body))
		}
	}
}
