package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Buckets of a histogram: every power of two of nanoseconds is cut in 128, so
// that a value is at most 0.8 % off.
const (
	subBits  = 7
	subCount = 1 << subBits
	octaves  = 40 // up to about 2.4 hours
)

// histogram counts durations. All methods may be used by any goroutine; the zero
// value is empty.
type histogram struct {
	total   atomic.Int64
	buckets [subCount * (octaves + 1)]atomic.Int64
}

// Add counts one duration.
func (h *histogram) Add(d time.Duration) {
	h.buckets[bucketOf(d)].Add(1)
	h.total.Add(1)
}

// Count is the number of durations added.
func (h *histogram) Count() int64 { return h.total.Load() }

// Quantile is the duration that the share q of all durations does not exceed,
// rounded up to its bucket's upper edge; 0 when empty.
func (h *histogram) Quantile(q float64) time.Duration {
	total := h.total.Load()
	if total == 0 {
		return 0
	}
	rank := max(1, int64(q*float64(total)+0.5))
	var seen int64
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen >= rank {
			return bucketTop(i)
		}
	}
	return bucketTop(len(h.buckets) - 1)
}

// bucketOf maps [0,128) one to one, then each octave to 128 buckets.
func bucketOf(d time.Duration) int {
	n := uint64(max(0, d))
	if n < subCount {
		return int(n)
	}
	shift := bits.Len64(n) - 1 - subBits
	return min((shift+1)*subCount+int(n>>shift)-subCount, subCount*(octaves+1)-1)
}

func bucketTop(i int) time.Duration {
	if i < subCount {
		return time.Duration(i)
	}
	shift := i/subCount - 1
	return time.Duration((uint64(i%subCount+subCount)+1)<<shift - 1)
}
