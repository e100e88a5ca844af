package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// chance is the only source of randomness in a world. It is an io.Reader too,
// for what the cores draw.
type chance struct{ *rand.Rand }

func newChance(seed, stream uint64) chance { return chance{rand.New(rand.NewPCG(seed, stream))} }

// Read fills p and never fails.
func (c chance) Read(p []byte) (int, error) {
	var b [8]byte
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(b[:], c.Uint64())
		copy(p[i:], b[:])
	}
	return len(p), nil
}

// in says yes with the probability p.
func (c chance) in(p float64) bool { return p > 0 && c.Float64() < p }

// between is a duration from least to most, most excluded.
func (c chance) between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(c.Int64N(int64(most-least)))
}

// skewed is mostly near least and seldom near most.
func (c chance) skewed(least, most time.Duration) time.Duration {
	f := c.Float64()
	return least + time.Duration(f*f*f*float64(most-least))
}

// count is from least to most, both included.
func (c chance) count(least, most int) int { return least + c.IntN(most-least+1) }
