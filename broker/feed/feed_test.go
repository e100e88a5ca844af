package feed

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestEventsComeInOrder(t *testing.T) {
	var f Feed
	for range 250 {
		f.Tell(Event{What: "x"})
	}
	next := uint64(0)
	for next < 250 {
		events, missed, err := f.After(t.Context(), next)
		if err != nil || missed != 0 || len(events) == 0 || len(events) > readMost {
			t.Fatalf("after %d: %d events, %d missed, %v", next, len(events), missed, err)
		}
		for _, e := range events {
			if next++; e.Number != next {
				t.Fatalf("event %d comes as number %d", e.Number, next)
			}
		}
	}
}

func TestSlowListenerIsToldWhatItMissed(t *testing.T) {
	var f Feed
	for range Kept + 10 {
		f.Tell(Event{})
	}
	events, missed, err := f.After(t.Context(), 3)
	if err != nil || missed != 7 || events[0].Number != 11 {
		t.Errorf("missed %d, then number %d, %v; want 7, then 11", missed, events[0].Number, err)
	}
	if events, missed, _ := f.After(t.Context(), 1<<40); missed != 10 || events[0].Number != 11 {
		t.Errorf("a number of another process: missed %d, then %d; want 10, then 11", missed, events[0].Number)
	}
}

func TestAfterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Feed
		got := make(chan uint64)
		go func() {
			events, _, _ := f.After(t.Context(), 0)
			got <- events[0].Number
		}()
		synctest.Wait()
		f.Tell(Event{What: "now"})
		if n := <-got; n != 1 {
			t.Errorf("woken for number %d", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := f.After(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of its context: %v", err)
		}
	})
}

func TestHeard(t *testing.T) {
	var f Feed
	stop := f.Listen()
	if !f.Heard() {
		t.Error("a listener is not known")
	}
	stop()
	stop()
	if f.Heard() {
		t.Error("a listener that has stopped is still known")
	}
}
