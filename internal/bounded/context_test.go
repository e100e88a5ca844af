package bounded_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/limpet-rpc/limpet/internal/bounded"
)

type key struct{}

func TestEndsByItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		for _, asked := range []bool{false, true} {
			c := bounded.New(t.Context(), time.Minute)
			if end, has := c.Deadline(); !has || time.Until(end) != time.Minute {
				t.Errorf("Deadline = %v, %v", end, has)
			}
			if asked {
				<-c.Done()
			} else {
				time.Sleep(time.Minute - time.Nanosecond)
				if c.Err() != nil {
					t.Errorf("ended a nanosecond early: %v", c.Err())
				}
				time.Sleep(time.Nanosecond)
			}
			if !errors.Is(c.Err(), context.DeadlineExceeded) {
				t.Errorf("Err = %v where Done was asked for: %v", c.Err(), asked)
			}
			c.Release()
		}
		if took := time.Since(begun); took != 2*time.Minute {
			t.Errorf("two deadlines of a minute took %v", took)
		}
	})
}

func TestEndsWithItsParent(t *testing.T) {
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	quick, slow := bounded.New(parent, time.Hour), bounded.New(parent, time.Hour)
	defer quick.Release()
	child, drop := context.WithCancel(slow)
	defer drop()
	cancel()
	<-child.Done()
	for name, c := range map[string]context.Context{"quick": quick, "slow": slow, "child": child} {
		if !errors.Is(c.Err(), context.Canceled) || c.Value(key{}) != "value" {
			t.Errorf("%s: Err = %v, Value = %v", name, c.Err(), c.Value(key{}))
		}
	}
	if !errors.Is(context.Cause(slow), context.Canceled) {
		t.Errorf("Cause = %v", context.Cause(slow))
	}
	slow.Release()
}

func TestKeepsASoonerDeadline(t *testing.T) {
	parent, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := bounded.New(parent, time.Hour)
	defer c.Release()
	want, _ := parent.Deadline()
	if got, _ := c.Deadline(); !got.Equal(want) {
		t.Errorf("Deadline = %v, its parent's is %v", got, want)
	}
}

func TestReleaseEndsWhatWasMade(t *testing.T) {
	c := bounded.New(t.Context(), time.Hour)
	done := c.Done()
	c.Release()
	<-done
	if c.Err() == nil {
		t.Error("released, and not ended")
	}
}

// slowToTell is a context of somebody's own, of which the standard library's learn
// by a goroutine.
type slowToTell struct {
	context.Context
	done chan struct{}
}

func (s slowToTell) Done() <-chan struct{} { return s.done }

func (s slowToTell) Err() error {
	select {
	case <-s.done:
		return context.Canceled
	default:
		return nil
	}
}

// Whoever waits for the parent and the deadline by himself finds the context ended
// after that, also where somebody else has asked for Done.
func TestHasEndedForWhoWaitsByHimself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bounded.New(t.Context(), time.Minute)
		defer c.Release()
		c.Done()
		end, _ := c.Deadline()
		<-time.After(time.Until(end))
		if err := c.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at its deadline: Err = %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		parent := slowToTell{t.Context(), make(chan struct{})}
		c := bounded.New(parent, time.Minute)
		defer c.Release()
		c.Done()
		synctest.Wait()
		close(parent.done)
		if err := c.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("after its parent's end: Err = %v", err)
		}
	})
}
