package session

import (
	"time"

	"github.com/google/uuid"
)

// Route is the path that open returns: which broker assigned it, which node
// and worker serve it, and under which epoch its holder may call.
type Route struct {
	Broker      uuid.UUID // the broker that assigned it
	Node        NodeID
	NodeName    string
	PID         int    // of the node's process, on its own machine
	Worker      int    // the slot, 0 to slots-1
	Incarnation uint64 // how many sessions that slot has served, this one included
	Session     ID
	Epoch       uint32 // of the holder; attach raises it
	Endpoint    string // the node's direct endpoint, empty where it has none
	Pool        string
}

// Limits are the three clocks that end a session without anyone's help, and
// the bounds of its window. Zero means the pool's own value.
type Limits struct {
	Lease  time.Duration // without a beat or a frame of the holder
	Idle   time.Duration // without a call
	MaxAge time.Duration // since the open
	Window int           // calls in flight
}

// Defaults of a pool that sets nothing. There is no idle and no absolute limit
// unless somebody asks for one.
const (
	DefaultLease  = 10 * time.Second
	DefaultWindow = 64
	MaxWindow     = 1024
	DefaultBytes  = 16 << 20 // of replies kept, and of arguments in flight, per session
)

// Lowered returns the limits with every one that ask sets lower than l itself;
// nobody can raise a pool's limit per open.
func (l Limits) Lowered(ask Limits) Limits {
	lower := func(mine, asked time.Duration) time.Duration {
		if asked > 0 && (mine == 0 || asked < mine) {
			return asked
		}
		return mine
	}
	l.Lease = lower(l.Lease, ask.Lease)
	l.Idle = lower(l.Idle, ask.Idle)
	l.MaxAge = lower(l.MaxAge, ask.MaxAge)
	if ask.Window > 0 && ask.Window < l.Window {
		l.Window = ask.Window
	}
	return l
}

// WithDefaults fills in what a pool left open.
func (l Limits) WithDefaults() Limits {
	if l.Lease <= 0 {
		l.Lease = DefaultLease
	}
	if l.Window <= 0 {
		l.Window = DefaultWindow
	}
	l.Window = min(l.Window, MaxWindow)
	return l
}
