package zmqio

import "sync/atomic"

// Stats counts since NewLoop. Bytes are those of body frames.
type Stats struct {
	FramesIn, EnvelopesIn, BytesIn    uint64
	FramesOut, EnvelopesOut, BytesOut uint64
	// FramesBySender is the part of FramesOut that the sending goroutines
	// handed over by themselves while the loop was parked.
	FramesBySender uint64
	// Dropped counts envelopes refused with ErrFull, and those discarded
	// because their peer was gone.
	Dropped uint64
	// Malformed counts messages given to Handler.Malformed.
	Malformed uint64
	// Cut counts connections that were closed for what they sent: frames over the
	// limit, a message without an end, what is no ZMTP after a handshake that was.
	Cut uint64
	// Peers is how many peers can be sent to right now.
	Peers int
	// Stalled is how many of them do not take what waits for them.
	Stalled int
	// Parks counts how often the loop went to sleep.
	Parks uint64
	// Blocks is how many blocks this process holds, all its loops together, until
	// they are released and what was to be sent of them has been;
	// BlockBytes is their memory, BlocksKept what waits to be used again.
	Blocks, BlockBytes, BlocksKept int
}

// counters are the atomic side of Stats: frames are counted by whoever holds
// the socket, everything else from any goroutine.
type counters struct {
	framesIn, envelopesIn, bytesIn    atomic.Uint64
	framesOut, envelopesOut, bytesOut atomic.Uint64
	framesBySender                    atomic.Uint64
	dropped, malformed, cut, parks    atomic.Uint64
	stalled                           atomic.Int64
}

// Stats returns the counters as they are now. Any goroutine may call it.
func (l *Loop) Stats() Stats {
	blocks, blockBytes, kept := countBlocks()
	return Stats{
		FramesIn:       l.count.framesIn.Load(),
		EnvelopesIn:    l.count.envelopesIn.Load(),
		BytesIn:        l.count.bytesIn.Load(),
		FramesOut:      l.count.framesOut.Load(),
		EnvelopesOut:   l.count.envelopesOut.Load(),
		BytesOut:       l.count.bytesOut.Load(),
		FramesBySender: l.count.framesBySender.Load(),
		Dropped:        l.count.dropped.Load(),
		Malformed:      l.count.malformed.Load(),
		Cut:            l.count.cut.Load(),
		Parks:          l.count.parks.Load(),
		Peers:          l.directory.size(),
		Stalled:        int(l.count.stalled.Load()),
		Blocks:         blocks,
		BlockBytes:     blockBytes,
		BlocksKept:     kept,
	}
}
