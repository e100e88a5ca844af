package core

import (
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// What happened, for logs and for whoever listens.
const (
	EventBad        = "bad message"
	EventNodeJoined = "node joined"
	EventNodeCut    = "node connection broke"
	EventNodeState  = "node state"
	EventNodeLost   = "node lost"
	EventNodeLeft   = "node left"
	EventNodeDrains = "node drains"
	EventOutdated   = "refused by epoch"
	EventOpened     = "session opened"
	EventEnded      = "session ended"
	EventHung       = "call hung"
	EventResized    = "pool resized"

	EventBroadcast     = "broadcast"
	EventBroadcastOver = "broadcast over"
)

// Event is one thing that happened. Fields that do not apply are zero.
type Event struct {
	What    string
	Peer    wire.Peer
	Node    session.NodeID
	Name    string // of the node
	Session session.ID
	Pool    string
	Code    session.Code
	Text    string
}

// Inherits reports that the nodes have changed that the next master has to wait
// for.
func (e Event) Inherits() bool {
	return e.What == EventNodeJoined || e.What == EventNodeLost || e.What == EventNodeLeft
}
