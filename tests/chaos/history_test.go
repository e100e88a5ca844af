package chaos

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// asked is one operation on a session's counter: an increment, or a look.
type asked struct {
	session int
	add     bool
}

// counter is what a session's counter may answer: one register per session
// that starts at 0.
var counter = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		by := map[int][]porcupine.Operation{}
		for _, op := range all {
			s := op.Input.(asked).session
			by[s] = append(by[s], op)
		}
		parts := make([][]porcupine.Operation, 0, len(by))
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		n := state.(int)
		if input.(asked).add {
			n++
		}
		return output.(int) == n, n
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, output) },
}

// history is all that was asked and answered.
type history struct {
	began time.Time

	mu      sync.Mutex
	all     []porcupine.Operation
	acked   []int           // by session: increments that were answered
	answers []int           // by session: of any kind
	pauses  []time.Duration // the longest wait for one answer, by session
}

func newHistory(sessions int) *history {
	return &history{began: time.Now(), acked: make([]int, sessions), answers: make([]int, sessions), pauses: make([]time.Duration, sessions)}
}

func (h *history) add(caller int, in asked, out int, called, returned time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, porcupine.Operation{
		ClientId: caller, Input: in, Output: out, Call: called.Sub(h.began).Nanoseconds(), Return: returned.Sub(h.began).Nanoseconds(),
	})
	h.answers[in.session]++
	if in.add {
		h.acked[in.session]++
	}
	h.pauses[in.session] = max(h.pauses[in.session], returned.Sub(called))
}

// snapshot is how many answers each session has got.
func (h *history) snapshot() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]int(nil), h.answers...)
}

// advanced reports whether every session has got n answers more than before.
func (h *history) advanced(before []int, n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, was := range before {
		if h.answers[i] < was+n {
			return false
		}
	}
	return true
}

// check wants the history to be one that a counter per session can have.
func (h *history) check(t *testing.T) {
	t.Helper()
	if got := porcupine.CheckOperationsTimeout(counter, h.all, 2*time.Minute); got != porcupine.Ok {
		t.Errorf("the history of %d operations is not a counter's: %s", len(h.all), got)
	}
}

// A history in which an increment ran twice is found out.
func TestHistoryFindsASecondRun(t *testing.T) {
	op := func(at int64, add bool, out int) porcupine.Operation {
		return porcupine.Operation{Input: asked{1, add}, Output: out, Call: at, Return: at + 1}
	}
	good := []porcupine.Operation{op(0, true, 1), op(2, true, 2), op(4, false, 2)}
	twice := []porcupine.Operation{op(0, true, 1), op(2, true, 3)}
	lost := []porcupine.Operation{op(0, true, 1), op(2, false, 0)}
	for name, test := range map[string]struct {
		ops  []porcupine.Operation
		want bool
	}{"good": {good, true}, "ran twice": {twice, false}, "lost": {lost, false}} {
		if got := porcupine.CheckOperations(counter, test.ops); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}
