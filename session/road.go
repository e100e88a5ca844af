package session

// Road is what several streams to one peer share: together they have no more
// bytes on their way than its bound, and take turns chunk by chunk. So no stream
// fills the peer's buffer, and none waits for another to end. What a stream has
// sent and then lost, or sent by another road, does not count: see Stuck, Join.
//
// Where the peer passes them on to several others the road has lanes, one for
// each: those of one have their own bound, so that one who acknowledges nothing
// leaves room for the others.
//
// It is not safe for concurrent use; its owner locks.
type Road struct {
	most   int
	each   int // of one lane
	flying int
	lanes  map[uint64]int // flying, where there is any
	flows  []*Outflow
	turn   int
}

// NewRoad returns an empty road for at most so many bytes; one chunk may always
// be on its way.
func NewRoad(most int) *Road { return NewRoadWithLanes(most, most) }

// NewRoadWithLanes returns one on which each lane has at most so many bytes.
func NewRoadWithLanes(most, each int) *Road {
	return &Road{most: most, each: each, lanes: map[uint64]int{}}
}

// Join puts a stream on the road, and takes it off the one that it was on: what
// it has sent there is not on its way here.
func (r *Road) Join(f *Outflow) { r.JoinLane(f, 0) }

// JoinLane does so on one of its lanes.
func (r *Road) JoinLane(f *Outflow, lane uint64) {
	if f.road == r && f.lane == lane {
		return
	}
	f.Leave()
	f.road, f.lane = r, lane
	r.flows = append(r.flows, f)
}

// Empty reports that no stream is left.
func (r *Road) Empty() bool { return len(r.flows) == 0 }

// Flying is how many bytes are on their way.
func (r *Road) Flying() int { return r.flying }

// Next is the next chunk that may be sent, of whichever stream has its turn.
func (r *Road) Next() (f *Outflow, c Chunk, last, again, ok bool) {
	for range r.flows {
		if r.turn >= len(r.flows) {
			r.turn = 0
		}
		f = r.flows[r.turn]
		if size, waits := f.next(); waits && r.takes(f.lane, size) {
			c, last, again, ok = f.Next()
			f.count()
		}
		r.turn++
		if ok {
			return f, c, last, again, true
		}
	}
	return nil, Chunk{}, false, false, false
}

// takes reports that there is room for a chunk: one may always be on its way.
func (r *Road) takes(lane uint64, size int) bool {
	on := r.lanes[lane]
	return size == 0 || (r.flying == 0 || r.flying+size <= r.most) && (on == 0 || on+size <= r.each)
}

// Leave takes the stream off its road.
func (f *Outflow) Leave() {
	r := f.road
	if r == nil {
		return
	}
	for i, other := range r.flows {
		if other == f {
			r.flows = append(r.flows[:i], r.flows[i+1:]...)
			break
		}
	}
	r.add(f.lane, -f.counted)
	f.road, f.counted = nil, 0
	f.off = f.sent
}

// Stuck says that what is on its way has not been acknowledged for long: it is
// lost, or lies where it fills no buffer of this side. It makes room on the road;
// what is sent from now on counts.
func (f *Outflow) Stuck() {
	f.off = f.sent
	f.count()
}

// Counted is how many bytes its road counts for it.
func (f *Outflow) Counted() int { return f.counted }

// count brings the road's account up to date.
func (f *Outflow) count() {
	if f.road == nil {
		return
	}
	flying := int(f.sent - max(f.acked, f.off))
	f.road.add(f.lane, flying-f.counted)
	f.counted = flying
}

func (r *Road) add(lane uint64, bytes int) {
	r.flying += bytes
	if r.lanes[lane] += bytes; r.lanes[lane] == 0 {
		delete(r.lanes, lane)
	}
}
