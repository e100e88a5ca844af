package sim

import "time"

// agenda is what will happen, in the order of its time and then of its entry.
// It is a heap of four branches a node.
type agenda struct {
	now   time.Duration // since the beginning of the world
	seq   uint64
	heap  []entry
	steps int
}

type entry struct {
	at  time.Duration
	seq uint64
	do  func()
}

func (e *entry) before(o *entry) bool { return e.at < o.at || (e.at == o.at && e.seq < o.seq) }

// after has do called once d has passed.
func (a *agenda) after(d time.Duration, do func()) { a.at(a.now+max(d, 0), do) }

func (a *agenda) at(at time.Duration, do func()) {
	a.seq++
	a.heap = append(a.heap, entry{max(at, a.now), a.seq, do})
	i := len(a.heap) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !a.heap[i].before(&a.heap[up]) {
			return
		}
		a.heap[i], a.heap[up] = a.heap[up], a.heap[i]
		i = up
	}
}

// step lets the next thing happen.
func (a *agenda) step() {
	first := a.heap[0]
	last := len(a.heap) - 1
	a.heap[0] = a.heap[last]
	a.heap[last] = entry{}
	a.heap = a.heap[:last]
	for i := 0; ; {
		least := i
		for c := 4*i + 1; c <= 4*i+4 && c < last; c++ {
			if a.heap[c].before(&a.heap[least]) {
				least = c
			}
		}
		if least == i {
			break
		}
		a.heap[i], a.heap[least] = a.heap[least], a.heap[i]
		i = least
	}
	a.now = first.at
	a.steps++
	first.do()
}
