package main

import (
	"fmt"
	"slices"
)

// Spread is a figure over the repetitions of a measurement.
type Spread struct{ Min, Median, Max float64 }

// spreadOf sorts a copy; of no values it is zero.
func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	middle := v[len(v)/2]
	if len(v)%2 == 0 {
		middle = (v[len(v)/2-1] + middle) / 2
	}
	return Spread{Min: v[0], Median: middle, Max: v[len(v)-1]}
}

// ratios divides the two figures of each repetition.
func ratios(figures, baseline []float64) []float64 {
	r := make([]float64, 0, len(figures))
	for i, f := range figures {
		if i < len(baseline) && baseline[i] > 0 {
			r = append(r, f/baseline[i])
		}
	}
	return r
}

// text writes "median (min-max)", each with the given decimals.
func (s Spread) text(decimals int) string {
	return fmt.Sprintf("%.*f (%.*f-%.*f)", decimals, s.Median, decimals, s.Min, decimals, s.Max)
}
