package heartbeat

// The heap of looks. A beat never touches it: the due time of one who beats is
// simply too early, and is put right when it comes up.

func (m *Monitor[K]) before(a, b *watched[K]) bool {
	if a.due != b.due {
		return a.due < b.due
	}
	return a.seq < b.seq
}

// arm sets when w must be looked at next and puts it where that belongs.
func (m *Monitor[K]) arm(w *watched[K]) {
	w.due = w.last + w.silence(w.state+1)
	if w.place == 0 {
		m.looks = append(m.looks, w)
		w.place = len(m.looks)
	}
	m.fix(w.place - 1)
}

func (m *Monitor[K]) disarm(w *watched[K]) {
	i, last := w.place-1, len(m.looks)-1
	m.swap(i, last)
	m.looks[last] = nil
	m.looks = m.looks[:last]
	w.place = 0
	if i < last {
		m.fix(i)
	}
}

func (m *Monitor[K]) fix(i int) {
	if m.down(i) {
		return
	}
	for i > 0 {
		parent := (i - 1) / 2
		if !m.before(m.looks[i], m.looks[parent]) {
			return
		}
		m.swap(i, parent)
		i = parent
	}
}

func (m *Monitor[K]) down(i int) (moved bool) {
	for {
		first := 2*i + 1
		if first >= len(m.looks) {
			return moved
		}
		if right := first + 1; right < len(m.looks) && m.before(m.looks[right], m.looks[first]) {
			first = right
		}
		if !m.before(m.looks[first], m.looks[i]) {
			return moved
		}
		m.swap(i, first)
		i, moved = first, true
	}
}

func (m *Monitor[K]) swap(i, j int) {
	m.looks[i], m.looks[j] = m.looks[j], m.looks[i]
	m.looks[i].place, m.looks[j].place = i+1, j+1
}
