package wire

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// Broadcast asks every member of a pool the same. Repeating it with the same
// client and request is harmless.
type Broadcast struct {
	Client   uuid.UUID `msgpack:"client"`
	Request  uuid.UUID `msgpack:"request"`
	Pool     string    `msgpack:"pool"`
	Method   string    `msgpack:"method"`
	Args     []byte    `msgpack:"args,omitempty"`
	Raw      bool      `msgpack:"raw,omitempty"`
	Budget   uint32    `msgpack:"budget,omitempty"`   // until it is over, whoever has answered by then; 0 = none
	Patience uint32    `msgpack:"patience,omitempty"` // of each member's call, as in the header
	Sessions bool      `msgpack:"sessions,omitempty"` // the members are the pool's open sessions, not its nodes
	Wait     uint32    `msgpack:"wait,omitempty"`     // so long a busy session is waited for; 0 = for as long as it takes, NoWait = not at all
	Since    uint32    `msgpack:"since,omitempty"`    // how long ago it was sent first
	Try      uint32    `msgpack:"try,omitempty"`      // how often it was sent before
	Broker   uuid.UUID `msgpack:"broker"`             // whose numbers Have counts
	Run      uint64    `msgpack:"run,omitempty"`      // and of which of its runs
	Have     uint32    `msgpack:"have,omitempty"`     // answers up to this number have come
	Missing  []byte    `msgpack:"missing,omitempty"`  // the members that the client still waits for, packed; none: it knows no snapshot
	Trace    []byte    `msgpack:"trace,omitempty"`    // as Trace.Field has it
}

// NoWait is a Wait that is over as soon as it begins.
const NoWait = 1<<32 - 1

// Cast asks a node for its part of a broadcast: once beside its sessions, or
// once in each of the sessions listed.
type Cast struct {
	Epoch    uint64       `msgpack:"epoch"`
	Client   uuid.UUID    `msgpack:"client"`
	Request  uuid.UUID    `msgpack:"request"`
	Pool     string       `msgpack:"pool"`
	Method   string       `msgpack:"method,omitempty"`
	Args     []byte       `msgpack:"args,omitempty"`
	Raw      bool         `msgpack:"raw,omitempty"`
	Budget   uint32       `msgpack:"budget,omitempty"`
	Patience uint32       `msgpack:"patience,omitempty"`
	Wait     uint32       `msgpack:"wait,omitempty"`
	Since    uint32       `msgpack:"since,omitempty"` // how long ago its client sent it first
	Again    bool         `msgpack:"again,omitempty"` // the node has had it: method and argument are left out
	Over     bool         `msgpack:"over,omitempty"`  // nobody waits for it any more
	Sessions []session.ID `msgpack:"sessions,omitempty"`
	Trace    []byte       `msgpack:"trace,omitempty"` // left out as the method is
}

// Member is one member of a broadcast with what became of it.
type Member struct {
	Node    session.NodeID `msgpack:"node"`
	Name    string         `msgpack:"name,omitempty"`
	Session session.ID     `msgpack:"session"` // zero: the node itself
	Fate    session.Fate   `msgpack:"fate"`
	Code    session.Code   `msgpack:"code,omitempty"`
	Raw     bool           `msgpack:"raw,omitempty"`
	Body    []byte         `msgpack:"body,omitempty"` // the result, or as a fail has it
}

// Answer is a node's word on members of a broadcast. One without members says
// that they are still at it.
type Answer struct {
	Client  uuid.UUID `msgpack:"client"`
	Request uuid.UUID `msgpack:"request"`
	Members []Member  `msgpack:"members,omitempty"`
}

// Answered hands on what has become of members, numbered in the order in which
// it was settled.
type Answered struct {
	Request  uuid.UUID `msgpack:"request"`
	Broker   uuid.UUID `msgpack:"broker"`
	Run      uint64    `msgpack:"run,omitempty"`      // drawn by the broker for this broadcast: if it forgets that, and takes it anew, it is another
	Try      uint32    `msgpack:"try,omitempty"`      // the highest that the broker has heard
	Base     uint32    `msgpack:"base,omitempty"`     // answers up to this number were confirmed, and are not told again
	First    uint32    `msgpack:"first"`              // number of the first of them, from 1
	Known    bool      `msgpack:"known,omitempty"`    // Snapshot is told here
	Snapshot []byte    `msgpack:"snapshot,omitempty"` // every member, packed
	Members  []Member  `msgpack:"members,omitempty"`
}

// Complete says that every member of the snapshot is settled.
type Complete struct {
	Request  uuid.UUID `msgpack:"request"`
	Broker   uuid.UUID `msgpack:"broker"`
	Run      uint64    `msgpack:"run,omitempty"`
	Members  uint32    `msgpack:"members"`
	Answered uint32    `msgpack:"answered,omitempty"`
	Failed   uint32    `msgpack:"failed,omitempty"`
	Died     uint32    `msgpack:"died,omitempty"`
	Hung     uint32    `msgpack:"hung,omitempty"`
	Left     uint32    `msgpack:"left,omitempty"`
	Deadline uint32    `msgpack:"deadline,omitempty"`
	Busy     uint32    `msgpack:"busy,omitempty"`
}

// Heard confirms answers up to a number, which makes room for more, or the
// whole broadcast.
type Heard struct {
	Client  uuid.UUID `msgpack:"client"`
	Request uuid.UUID `msgpack:"request"`
	Broker  uuid.UUID `msgpack:"broker"`
	Run     uint64    `msgpack:"run,omitempty"`
	Have    uint32    `msgpack:"have,omitempty"`
	Done    bool      `msgpack:"done,omitempty"` // it is over for the client, complete or not
}

// Kind implements Control.
func (*Broadcast) Kind() Kind { return KindBroadcast }

// Kind implements Control.
func (*Cast) Kind() Kind { return KindCast }

// Kind implements Control.
func (*Answer) Kind() Kind { return KindAnswer }

// Kind implements Control.
func (*Answered) Kind() Kind { return KindAnswered }

// Kind implements Control.
func (*Complete) Kind() Kind { return KindComplete }

// Kind implements Control.
func (*Heard) Kind() Kind { return KindHeard }

// memberSize is how many bytes a packed member takes: its node, its session.
const memberSize = 24

// MaxMembers bounds the members of a broadcast.
const MaxMembers = 1 << 16

// AppendMember packs a member's name.
func AppendMember(dst []byte, id session.MemberID) []byte {
	n := uint64(id.Node)
	dst = append(dst, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	return append(dst, id.Session[:]...)
}

// UnpackMembers reads what AppendMember has written one after another. Check
// has seen to it that nothing is left over.
func UnpackMembers(b []byte) []session.MemberID {
	list := make([]session.MemberID, 0, len(b)/memberSize)
	for ; len(b) >= memberSize; b = b[memberSize:] {
		var n uint64
		for _, c := range b[:8] {
			n = n<<8 | uint64(c)
		}
		list = append(list, session.MemberID{Node: session.NodeID(n), Session: session.ID(b[8:memberSize])})
	}
	return list
}

func packed(field string, b []byte) error {
	if len(b)%memberSize != 0 || len(b) > MaxMembers*memberSize {
		return fmt.Errorf("%s: %d bytes, want %d a member and at most %d members", field, len(b), memberSize, MaxMembers)
	}
	return nil
}

// Check reports an impossible field.
func (m *Broadcast) Check() error {
	return first(given("client", m.Client), given("request", m.Request), name("pool", m.Pool), called("method", m.Method),
		packed("missing", m.Missing), traced(m.Trace))
}

func called(field, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", field)
	}
	return short(field, s, MaxMethod)
}

// Check reports an impossible field.
func (m *Cast) Check() error {
	return first(given("client", m.Client), given("request", m.Request), name("pool", m.Pool), short("method", m.Method, MaxMethod), traced(m.Trace))
}

func (m *Member) check() error {
	if m.Fate > session.FateLast {
		return fmt.Errorf("fate is %d", m.Fate)
	}
	return short("name", m.Name, MaxName)
}

func checked(members []Member) error {
	for i := range members {
		if err := members[i].check(); err != nil {
			return fmt.Errorf("members[%d]: %w", i, err)
		}
	}
	return nil
}

// Check reports an impossible field.
func (m *Answer) Check() error {
	return first(given("client", m.Client), given("request", m.Request), checked(m.Members))
}

// Check reports an impossible field.
func (m *Answered) Check() error {
	return first(given("request", m.Request), given("broker", m.Broker), packed("snapshot", m.Snapshot), checked(m.Members))
}

// Check reports an impossible field.
func (m *Complete) Check() error {
	return first(given("request", m.Request), given("broker", m.Broker))
}

// Check reports an impossible field.
func (m *Heard) Check() error { return first(given("client", m.Client), given("request", m.Request)) }
