package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/limpet-rpc/limpet/session"
)

// What a tally tells apart: latencies up to an hour, to a tenth of a percent.
// Longer ones count as an hour.
const (
	tallyMost   = int64(time.Hour)
	tallyDigits = 3
	tallyWidth  = 40 // columns of the histogram's longest bar
)

// tally counts the ends of calls. Its methods may be used by any goroutine.
type tally struct {
	began time.Time

	shards []shard // so that callers seldom wait for each other

	mu    sync.Mutex
	ended time.Time
	first error
	codes map[session.Code]int64
}

type shard struct {
	mu      sync.Mutex
	latency *hdrhistogram.Histogram // of calls that were done
}

func newTally() *tally {
	t := &tally{began: time.Now(), shards: make([]shard, runtime.GOMAXPROCS(0)), codes: map[session.Code]int64{}}
	for i := range t.shards {
		t.shards[i].latency = hdrhistogram.New(1, tallyMost, tallyDigits)
	}
	return t
}

// add counts the end of one call of a caller.
func (t *tally) add(caller int, took time.Duration, err error) {
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.codes[session.CodeOf(err)]++
		if t.first == nil {
			t.first = err
		}
		return
	}
	s := &t.shards[caller%len(t.shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.latency.RecordValue(min(max(1, int64(took)), tallyMost)) // it fails only beyond its bounds
}

// end stops the clock.
func (t *tally) end() {
	t.mu.Lock()
	t.ended = time.Now()
	t.mu.Unlock()
}

// latency is that of all callers.
func (t *tally) latency() *hdrhistogram.Histogram {
	all := hdrhistogram.New(1, tallyMost, tallyDigits)
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		all.Merge(s.latency)
		s.mu.Unlock()
	}
	return all
}

// failed is how many calls and opens have failed.
func (t *tally) failed() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var n int64
	for _, count := range t.codes {
		n += count
	}
	return n
}

// soFar is one line about the calls until now.
func (t *tally) soFar() string {
	all, took := t.latency(), time.Since(t.began)
	return fmt.Sprintf("%s  %.0f calls/s  p50 %s  p99 %s  %d failed", took.Round(time.Second), float64(all.TotalCount())/took.Seconds(),
		quantile(all, 50), quantile(all, 99), t.failed())
}

// failure is the first error, where there was one.
func (t *tally) failure() error {
	failed := t.failed()
	if failed == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Errorf("%d failed, the first: %w", failed, t.first)
}

// write shows everything, once it has ended.
func (t *tally) write(out io.Writer) {
	all, took := t.latency(), t.ended.Sub(t.began)
	fmt.Fprintf(out, "%d calls in %s, %d failed: %.0f calls/s\n", all.TotalCount(), took.Round(time.Millisecond), t.failed(),
		float64(all.TotalCount())/took.Seconds())
	if all.TotalCount() > 0 {
		fmt.Fprintf(out, "latency p50 %s, p90 %s, p99 %s, max %s\n\n", quantile(all, 50), quantile(all, 90), quantile(all, 99), short(all.Max()))
		writeBars(out, all.Distribution())
	}
	t.writeCodes(out)
}

// writeCodes lists what failed, the most frequent first.
func (t *tally) writeCodes(out io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	codes := slices.SortedFunc(maps.Keys(t.codes), func(a, b session.Code) int {
		return cmp.Or(cmp.Compare(t.codes[b], t.codes[a]), cmp.Compare(a, b))
	})
	for i, code := range codes {
		if i == 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%8d  %s (code %d)\n", t.codes[code], code.Error(), uint16(code))
	}
}

// writeBars draws a bar for each power of two of nanoseconds.
func writeBars(out io.Writer, bars []hdrhistogram.Bar) {
	var counts [64]int64
	first, last, most := len(counts), 0, int64(0)
	for _, bar := range bars {
		if bar.Count == 0 {
			continue
		}
		octave := bits.Len64(uint64(bar.From))
		counts[octave] += bar.Count
		first, last, most = min(first, octave), max(last, octave), max(most, counts[octave])
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for octave := first; octave <= last; octave++ {
		width := (counts[octave]*tallyWidth + most - 1) / most
		fmt.Fprintf(t, "< %s\t%d\t  %s\n", short(1<<octave), counts[octave], strings.Repeat("#", int(width)))
	}
	_ = t.Flush() // whoever does not read misses it
}

func quantile(h *hdrhistogram.Histogram, percent float64) string {
	return short(h.ValueAtPercentile(percent))
}

// short is nanoseconds to three digits.
func short(ns int64) string {
	d := time.Duration(ns)
	grain := time.Duration(1)
	for grain*1000 <= d {
		grain *= 10
	}
	return d.Round(grain).String()
}
