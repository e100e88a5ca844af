package zmqio

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// A peer's number is a sequence number that this process never gives out again
// and, in its low bits, the slot in which a sender finds the peer.
const (
	slotBits  = 24
	maxSlots  = 1 << slotBits
	shelfBits = 10
	shelfSize = 1 << shelfBits
)

// The sequence starts anywhere, so that a number which outlives its process (a
// broker's return path in a node's hands) leads to nobody in the next one.
var lastSequence = func() *atomic.Uint64 {
	var last atomic.Uint64
	last.Store(rand.Uint64N(1 << (64 - slotBits - 1))) // to be different is enough
	return &last
}()

var errNoSlot = errors.New("zmqio: too many peers")

// shelf is a fixed part of the directory: once made it is never moved, so that
// readers need no lock.
type shelf [shelfSize]atomic.Pointer[peer]

// directory finds a peer by its number, without a lock and in a few
// nanoseconds. Changing it takes mu.
type directory struct {
	shelves atomic.Pointer[[]*shelf]

	mu   sync.Mutex
	free []uint32
	next uint32
	used atomic.Int64
}

// find returns the peer of that number, or nil if it is gone or never was.
func (d *directory) find(id wire.Peer) *peer {
	shelves := d.shelves.Load()
	slot := uint64(id) & (maxSlots - 1)
	if shelves == nil || int(slot>>shelfBits) >= len(*shelves) {
		return nil
	}
	p := (*shelves)[slot>>shelfBits][slot&(shelfSize-1)].Load()
	if p == nil || p.id != id {
		return nil
	}
	return p
}

// enter gives the peer its number.
func (d *directory) enter(p *peer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	slot, err := d.slot()
	if err != nil {
		return err
	}
	p.id = wire.Peer(lastSequence.Add(1)<<slotBits | uint64(slot))
	d.place(slot).Store(p)
	d.used.Add(1)
	return nil
}

func (d *directory) remove(p *peer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	slot := uint32(uint64(p.id) & (maxSlots - 1))
	if d.place(slot).CompareAndSwap(p, nil) {
		d.free = append(d.free, slot)
		d.used.Add(-1)
	}
}

func (d *directory) size() int { return int(d.used.Load()) }

func (d *directory) slot() (uint32, error) {
	if n := len(d.free); n > 0 {
		slot := d.free[n-1]
		d.free = d.free[:n-1]
		return slot, nil
	}
	if d.next == maxSlots {
		return 0, errNoSlot
	}
	d.next++
	return d.next - 1, nil
}

// place returns the cell of a slot, and adds a shelf where there is none yet.
func (d *directory) place(slot uint32) *atomic.Pointer[peer] {
	var shelves []*shelf
	if at := d.shelves.Load(); at != nil {
		shelves = *at
	}
	if int(slot>>shelfBits) == len(shelves) {
		longer := append(slices.Clip(shelves), new(shelf))
		d.shelves.Store(&longer)
		shelves = longer
	}
	return &shelves[slot>>shelfBits][slot&(shelfSize-1)]
}
