package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/limpet-rpc/limpet/client"
)

// jobShown is how often a job's progress is drawn anew.
const jobShown = 100 * time.Millisecond

// jobBar is a job's progress on a terminal. A nil one shows nothing.
type jobBar struct {
	bar    *progressbar.ProgressBar
	shared bool // the results go to the same terminal
	drawn  time.Time
}

// newJobBar draws to a terminal; total 0 is one that nobody knows.
func newJobBar(to io.Writer, total int, shared bool) *jobBar {
	if total == 0 {
		total = -1
	}
	return &jobBar{shared: shared, bar: progressbar.NewOptions(
		total, progressbar.OptionSetWriter(to), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("items"),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true), progressbar.OptionSetWidth(30),
		progressbar.OptionClearOnFinish(), progressbar.OptionSpinnerType(14),
	)}
}

// step draws how far the job has come, at most every jobShown.
func (b *jobBar) step(c client.JobCounts) {
	if b == nil || time.Since(b.drawn) < jobShown {
		return
	}
	b.drawn = time.Now()
	if total := b.bar.GetMax64(); total > 0 { // scatter makes more of them
		b.bar.ChangeMax64(max(total, int64(c.Made)))
	}
	b.bar.Describe(fmt.Sprintf("%d failed, %d unknown, %d tried again", c.Failed+c.NotRun, c.Unknown, c.Retried))
	_ = b.bar.Set64(int64(c.Ended())) // a terminal that is gone shows nothing
}

// clear makes room for a line on stderr, or for one of the results.
func (b *jobBar) clear(stderr bool) {
	if b != nil && (stderr || b.shared) {
		_ = b.bar.Clear() // as above
	}
}

// end takes the bar away.
func (b *jobBar) end() {
	if b != nil {
		_ = b.bar.Finish() // as above
	}
}
