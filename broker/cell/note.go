//go:build linux

package cell

import (
	"encoding/binary"
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
)

// A note between candidates, big endian. Who sent it is the transport's to say.
//
//	0   version (1)
//	1   flags: 1 master, 2 unable
//	2   epoch (uint64)
//	10  accused candidate (uint64)
//	18  accused epoch (uint64)
//	26  late, in ms (uint32)
const (
	noteVersion = 1
	noteSize    = 30

	flagMaster = 1
	flagUnable = 2
)

func appendNote(b []byte, n *heartbeat.Note) []byte {
	var flags byte
	if n.Master {
		flags |= flagMaster
	}
	if n.Unable {
		flags |= flagUnable
	}
	b = append(b, noteVersion, flags)
	b = binary.BigEndian.AppendUint64(b, n.Epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(n.Accused.Candidate))
	b = binary.BigEndian.AppendUint64(b, n.Accused.Epoch)
	return binary.BigEndian.AppendUint32(b, uint32(min(n.Late.Milliseconds(), 1<<31)))
}

// parseNote reads a note. What has another version, or is too short, is none;
// what is longer comes from a newer candidate, which says more.
func parseNote(from heartbeat.Candidate, b []byte) (n heartbeat.Note, ok bool) {
	if len(b) < noteSize || b[0] != noteVersion {
		return n, false
	}
	return heartbeat.Note{
		From: from, Master: b[1]&flagMaster != 0, Unable: b[1]&flagUnable != 0,
		Epoch:   binary.BigEndian.Uint64(b[2:]),
		Accused: heartbeat.Holder{Candidate: heartbeat.Candidate(binary.BigEndian.Uint64(b[10:])), Epoch: binary.BigEndian.Uint64(b[18:])},
		Late:    time.Duration(binary.BigEndian.Uint32(b[26:])) * time.Millisecond,
	}, true
}
