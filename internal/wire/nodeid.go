package wire

import (
	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// NodeUUID is a node's id where a message has room for a UUID: in its last 8
// bytes, big-endian.
func NodeUUID(n session.NodeID) uuid.UUID {
	var id uuid.UUID
	for i := range 8 {
		id[15-i] = byte(n >> (8 * i))
	}
	return id
}
