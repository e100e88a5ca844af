package zmqio

import "time"

// Options bound a Loop. The zero value of a field means its default.
type Options struct {
	// Tick is how often Handler.Tick is called at least. Default 20ms.
	Tick time.Duration
	// Linger bounds how long Run may take to hand over what is still queued
	// after its context has ended; what the peers have not taken by then is
	// dropped. Default 500ms, negative for none at all.
	Linger time.Duration
	// PeerBuffer is how many bytes may wait for one peer that does not take
	// them, beyond what the kernel holds. One envelope of any
	// legal size always fits into an empty buffer. Freight that has a connection of
	// its own has as much again. Default 8 MiB.
	PeerBuffer int
	// PeerIdle is how long a ROUTER remembers a peer without any traffic in
	// either direction. Default 10 minutes.
	PeerIdle time.Duration
	// MaxPeers is how many peers one ROUTER remembers; the one that has been
	// silent longest makes room for a new one. Default 100,000, at most 8 million.
	MaxPeers int
	// Alone says that handlers answer from within, so that nobody else is about
	// to send when a batch has been handled: the flush waits for no company.
	Alone bool
	// Unfinished is how many bytes one TCP connection to a listening socket may
	// have sent without completing a single message before it is cut.
	// Default 32 MiB.
	Unfinished int
}

func (o Options) withDefaults() Options {
	o.Tick = positive(o.Tick, 20*time.Millisecond)
	o.PeerIdle = positive(o.PeerIdle, 10*time.Minute)
	o.PeerBuffer = positive(o.PeerBuffer, 8<<20)
	o.MaxPeers = min(positive(o.MaxPeers, 100_000), maxSlots/2)
	o.Unfinished = positive(o.Unfinished, 32<<20)
	switch {
	case o.Linger == 0:
		o.Linger = 500 * time.Millisecond
	case o.Linger < 0:
		o.Linger = 0
	}
	return o
}

func positive[N int | time.Duration](n, otherwise N) N {
	if n > 0 {
		return n
	}
	return otherwise
}
