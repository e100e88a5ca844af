package heartbeat

import (
	"testing"
	"time"
)

func TestPacerKeepsThePace(t *testing.T) {
	p := NewPacer(100 * time.Millisecond)
	beats := 0
	for now := time.Duration(0); now < 10*time.Second; now += 7 * time.Millisecond {
		if p.Due(at(now)) {
			beats++
		}
	}
	if beats != 100 {
		t.Errorf("%d beats in 10 s at 100 ms, want 100", beats)
	}
}

func TestPacerAfterAStopSendsOne(t *testing.T) {
	p := NewPacer(time.Second)
	if !p.Next().IsZero() || !p.Due(at(0)) || p.Due(at(0)) {
		t.Error("the first beat is due at once, and once")
	}
	if !p.Due(at(time.Minute)) || p.Due(at(time.Minute)) {
		t.Error("after a stop one beat is due, not all that were missed")
	}
	if want := at(61 * time.Second); !p.Next().Equal(want) {
		t.Errorf("next beat at %v, want %v", p.Next(), want)
	}
}

func TestPacerIntervalAndClockMayChange(t *testing.T) {
	p := NewPacer(time.Hour)
	p.Due(at(0))
	p.SetInterval(time.Second)
	if p.Due(at(0)) || !p.Due(at(time.Second)) {
		t.Error("a shorter interval does not draw the next beat nearer")
	}
	p.Due(at(-time.Hour)) // the clock was set back
	if !p.Due(at(-time.Hour + time.Second)) {
		t.Error("a clock that was set back silences the beat")
	}
}
