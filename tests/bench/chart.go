package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// chart draws calls/s as horizontal bars, a group for each number of callers
// with the fastest first; a line through a bar's end is its spread. It is drawn
// here because bars and text are all it needs: the plotting libraries of Go
// bring fonts and image formats along.
func (s *Standing) chart() string {
	const (
		left, bar, right = 190, 560, 150 // pixels: names, bars, figures
		step, head       = 20, 34        // a bar with its gap, a group's heading
	)
	c := s.Loads[0]
	var most float64
	for _, callers := range c.Callers {
		for _, peer := range c.Peers {
			most = max(most, spreadOf(c.figures(peer, callers, Run.rate)).Max)
		}
	}
	var b strings.Builder
	y := 0
	for _, callers := range slices.Backward(c.Callers) { // 1 caller is a matter of latency: last
		y += head
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-weight="bold">calls/s, callers: %d, bytes: %d</text>`+"\n", left, y-10, callers, c.Size)
		for _, peer := range c.byRate(callers) {
			rate := spreadOf(c.figures(peer, callers, Run.rate))
			x := func(rate float64) float64 { return left + bar*rate/most }
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8, y+13, html.EscapeString(peer))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", left, y, x(rate.Median)-left, step-4, colour(peer))
			fmt.Fprintf(&b, `<path d="M%.1f %dH%.1f" stroke="#333"/>`+"\n", x(rate.Min), y+step/2-2, x(rate.Max))
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%.0fk</text>`+"\n", x(rate.Max)+6, y+13, rate.Median/1000)
			y += step
		}
	}
	const page = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">` + "\n" +
		`<rect width="100%%" height="100%%" fill="white"/>` + "\n%s</svg>\n"
	return fmt.Sprintf(page, left+bar+right, y+10, b.String())
}

// colour tells families apart.
func colour(peer string) string {
	switch {
	case strings.HasPrefix(peer, "limpet-"):
		return "#2a7f62"
	case strings.HasPrefix(peer, "c-"), peer == "zmqio-bare":
		return "#8f9bb3"
	default:
		return "#d9a441"
	}
}
