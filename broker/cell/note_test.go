//go:build linux

package cell

import (
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
)

func TestNoteComesBack(t *testing.T) {
	for _, n := range []heartbeat.Note{
		{},
		{Epoch: 1<<64 - 1, Master: true, Late: 1500 * time.Millisecond},
		{Epoch: 7, Unable: true, Accused: heartbeat.Holder{Candidate: 1<<64 - 1, Epoch: 6}},
	} {
		n.From = 9
		b := appendNote(nil, &n)
		if got, ok := parseNote(9, append(b, "and more"...)); !ok || got != n {
			t.Errorf("%+v came back as %+v, %v", n, got, ok)
		}
	}
}

func TestWhatIsNoNote(t *testing.T) {
	n := heartbeat.Note{Epoch: 3}
	b := appendNote(nil, &n)
	if _, ok := parseNote(1, b[:len(b)-1]); ok {
		t.Error("a note that was cut short was taken")
	}
	b[0]++
	if _, ok := parseNote(1, b); ok {
		t.Error("a note of another version was taken")
	}
}
