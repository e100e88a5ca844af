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
