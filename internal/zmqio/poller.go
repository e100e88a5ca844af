package zmqio

import "sync"

// watch is one descriptor that a poller watches, and whose it is.
type watch struct {
	fd   int // fixed while it is watched
	mark uint64

	link   *link   // a connection, or
	socket *socket // one that listens
}

// sign is what a poller has seen on a watch.
type sign struct {
	watch *watch
	in    bool // there is something to read, an end or an error too
	out   bool // there is room to write
}

// watches finds a watch by its mark, which is never used again: so a sign of a
// descriptor that has been closed meanwhile is nobody's, also where its number is
// in use again.
type watches struct {
	mu     sync.Mutex
	last   uint64
	byMark map[uint64]*watch
}

func (ws *watches) enter(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.byMark == nil {
		ws.byMark = make(map[uint64]*watch)
	}
	ws.last++
	w.mark = ws.last
	ws.byMark[w.mark] = w
}

func (ws *watches) remove(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.byMark, w.mark)
}
