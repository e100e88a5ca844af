package client

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

func TestJobTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tally JobTally
		if c := tally.Counts(); c != (JobCounts{}) {
			t.Errorf("before the job: %+v", c)
		}
		tally.begin(100)
		for range 20 { // of which scatter makes 40
			tally.took()
			tally.made()
			tally.made()
		}
		for _, err := range []error{
			nil, errors.New("its own"), &session.Error{Code: session.ErrMethod}, &session.Error{Outcome: session.NotRun}, &session.Error{Outcome: session.Unknown},
		} {
			for range 4 {
				tally.end(err)
			}
		}
		tally.retry()
		tally.drop()
		time.Sleep(10 * time.Second)
		want := JobCounts{
			Taken: 20, Made: 40, Done: 4, Failed: 8, NotRun: 4, Unknown: 4, Retried: 1, Dropped: 1,
			Elapsed: 10 * time.Second, Rate: 2, Left: 90 * time.Second,
		}
		if c := tally.Counts(); c != want || c.Ended() != 20 {
			t.Errorf("after 10 s: %+v, want %+v", c, want)
		}
		tally.finish()
		time.Sleep(time.Hour)
		if c := tally.Counts(); c != want {
			t.Errorf("an hour after its end: %+v, want %+v", c, want)
		}
		tally.begin(0)
		if c := tally.Counts(); c != (JobCounts{}) {
			t.Errorf("of the next run: %+v", c)
		}
	})
}
