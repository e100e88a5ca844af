package fire

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// pause keeps the progress readable: between two ordinary lines at least this long.
const pause = 200 * time.Millisecond

// lines is the progress on the screen: now and then an ordinary hit, and every hit
// that was lost or wrong.
type lines struct {
	out  io.Writer  // fixed
	mu   sync.Mutex // guards the rest, and the order of what is written
	last time.Time
}

// hit shows the n-th of all hits, if it is worth a line or the pause is over.
func (l *lines) hit(n, all int, h hit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	special := h.lost || h.problem != ""
	if !special && time.Since(l.last) < pause {
		return
	}
	if !special {
		l.last = time.Now()
	}
	_, _ = fmt.Fprintf(l.out, "%4d/%d  %-8s %8s ms  session %-8s  process %-7d thread %-7d %s\n",
		n, all, h.kind.name, millis(h.took), short(h.answer.Session), h.answer.PID, h.answer.Thread, outcome(h))
}

// alwaysf shows a line at once.
func (l *lines) alwaysf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.out, format+"\n", args...)
}

// outcome is the end of a hit's line.
func outcome(h hit) string {
	switch {
	case h.lost:
		return fmt.Sprintf("LOST with the killed worker: %d %s", h.status, h.answer.Error)
	case h.problem != "":
		return "WRONG: " + h.problem
	case h.kind.fails:
		return fmt.Sprintf("failed as it should: %.60s", firstLine(h.answer.Error))
	default:
		return fmt.Sprintf("= %.60s", h.answer.Result)
	}
}

func firstLine(s string) string {
	for i, r := range s {
		if r == '\n' {
			return s[:i]
		}
	}
	return s
}

// short is as much of a session's id as tells it from the others on a screen.
func short(id string) string {
	if id == "" {
		return "-"
	}
	return id[:min(8, len(id))]
}
