package sizing

import "time"

// recent knows the highest of the numbers that it was given of late: in the last
// every to twice that.
type recent struct {
	every time.Duration

	began       time.Time // of the span that now counts; zero: nothing was added
	before, now int       // the highest of the span before, and of this one
	whole       bool      // there was a span before
}

func (r *recent) add(now time.Time, n int) {
	switch {
	case r.began.IsZero():
		r.began = now
	case now.Sub(r.began) >= r.every:
		r.before, r.now, r.whole, r.began = r.now, 0, true, now
	}
	r.now = max(r.now, n)
}

// peak is whole once it covers a span.
func (r *recent) peak() (peak int, whole bool) { return max(r.before, r.now), r.whole }
