package session_test

import (
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// A call that was cancelled behind one that runs for an earlier holder has been
// answered, although its turn never came: its acknowledgement was refused, and
// so was every later call.
func TestTombstoneBehindOrphanIsAnswered(t *testing.T) {
	var none time.Time
	c := session.NewCallee[string](8, 1<<20)
	if verdict, _, code := c.Arrive(1, 0, 1, 1, none, "runs on for the holder before"); verdict != session.Queued {
		t.Fatalf("the earlier holder's call: verdict %d, %v", verdict, code)
	}
	c.Next(none)
	first := c.Move()
	if verdict, _, code := c.Arrive(first, first-1, 2, 1, none, "cancelled"); verdict != session.Queued {
		t.Fatalf("the new holder's first call: verdict %d, %v", verdict, code)
	}
	if code := c.Ack(first); code == 0 {
		t.Fatal("a call that waits was acknowledged")
	}
	c.Cancel(first, session.ErrCancelled)
	if verdict, _, code := c.Arrive(first+1, first, 3, 1, none, "next"); verdict != session.Queued {
		t.Fatalf("the call after the cancelled one: verdict %d, %v", verdict, code)
	}
	c.Finish(1, &session.Reply{})
	if n, _, ok, _ := c.Next(none); !ok || n != first+1 {
		t.Fatalf("next is call %d (%v), want %d", n, ok, first+1)
	}
}
