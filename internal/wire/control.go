package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	"github.com/google/uuid"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/limpet-rpc/limpet/session"
)

// Control is a message of the control plane. Every one is a MessagePack map
// with the field names of its struct tags; unknown fields are ignored.
type Control interface {
	Kind() Kind
	// Check names the first field whose value cannot be.
	Check() error
}

// Roles in a Hello.
const (
	RoleClient = "client"
	RoleNode   = "node"
	RoleBroker = "broker"
)

// Bounds of what a control message may carry.
const (
	MaxName   = 255 // bytes of a pool, node, label or host name
	MaxLabels = 32
	MaxText   = 4096
	MaxPools  = 256
	// MaxMethods bounds the methods that a pool names.
	MaxMethods = 1024
)

// Hello says who a peer is. Durations are milliseconds throughout.
type Hello struct {
	Min     uint8     `msgpack:"min"` // oldest protocol version spoken
	Max     uint8     `msgpack:"max"` // newest
	Role    string    `msgpack:"role"`
	ID      uuid.UUID `msgpack:"id"` // of the client, or of this run of the node (first 8 bytes zero)
	Name    string    `msgpack:"name"`
	Program string    `msgpack:"program"` // name and version, for logs
	Beat    uint32    `msgpack:"beat"`    // it will beat this often
}

// Welcome answers a Hello.
type Welcome struct {
	Version    uint8     `msgpack:"version"` // the version both will use
	Broker     uuid.UUID `msgpack:"broker"`
	Name       string    `msgpack:"name"`
	Program    string    `msgpack:"program"`
	Epoch      uint64    `msgpack:"epoch"` // master epoch
	Beat       uint32    `msgpack:"beat"`  // beats are expected this often
	Misses     uint8     `msgpack:"misses"`
	Lease      uint32    `msgpack:"lease"`
	Recovering bool      `msgpack:"recovering"`
	MaxBody    uint32    `msgpack:"max_body"`
}

// Error answers what was malformed or not allowed.
type Error struct {
	Code    session.Code `msgpack:"code"`
	Text    string       `msgpack:"text"`
	Of      Kind         `msgpack:"of"`              // the kind it answers, 0 if that could not be read
	Request uuid.UUID    `msgpack:"request"`         // of what it answers, zero if none
	Epoch   uint64       `msgpack:"epoch,omitempty"` // of ErrEpoch from a node: the highest that it knows
}

// Identify asks a peer for its Hello: the broker was restarted, or forgot it.
type Identify struct {
	Broker uuid.UUID `msgpack:"broker"`
	Epoch  uint64    `msgpack:"epoch"`
}

// Beat says that the loop which sends it still turns.
type Beat struct {
	Seq   uint64 `msgpack:"seq"`   // a node's: how many changes it has reported
	Epoch uint64 `msgpack:"epoch"` // a broker's: its master epoch
	Late  uint32 `msgpack:"late"`  // by how much its own loop was late, at worst, since the last beat
	Drain bool   `msgpack:"drain"` // takes nothing new
	Reply bool   `msgpack:"reply"` // answers a beat

	Values map[string]string `msgpack:"values,omitempty"` // a node's: by pool, what it says of itself for the pool's policy
	Sizes  []Size            `msgpack:"sizes,omitempty"`  // a node's: of its pools that grow and shrink
	Queues []Queue           `msgpack:"queues,omitempty"` // a broker's, in reply: what waits for those
}

// Size is how large a pool is on its node now, and why.
type Size struct {
	Pool  string `msgpack:"pool"`
	Slots int    `msgpack:"slots"`
	Was   int    `msgpack:"was,omitempty"` // before its last change
	Why   string `msgpack:"why,omitempty"` // it changed; empty: it never has
	Ago   uint32 `msgpack:"ago,omitempty"` // since then
}

// Queue is what waits in a pool that a node could take, had it more slots.
type Queue struct {
	Pool    string `msgpack:"pool"`
	Waiting uint32 `msgpack:"waiting,omitempty"`
	Oldest  uint32 `msgpack:"oldest,omitempty"` // how long the longest has waited
	Nodes   uint32 `msgpack:"nodes,omitempty"`  // among whom it is shared
}

// Limits is session.Limits on the wire.
type Limits struct {
	Lease  uint32 `msgpack:"lease,omitempty"`
	Idle   uint32 `msgpack:"idle,omitempty"`
	MaxAge uint32 `msgpack:"max_age,omitempty"`
	Window uint16 `msgpack:"window,omitempty"`
}

// Open asks for a worker. Repeating it with the same client and request is
// harmless.
type Open struct {
	Client   uuid.UUID         `msgpack:"client"`
	Request  uuid.UUID         `msgpack:"request"`
	Pool     string            `msgpack:"pool"`
	Labels   map[string]string `msgpack:"labels,omitempty"`
	Priority int8              `msgpack:"priority,omitempty"`
	Wait     uint32            `msgpack:"wait,omitempty"`   // the client waits this long, 0 = as long as the broker lets it
	Notify   bool              `msgpack:"notify,omitempty"` // tell me my place while I wait
	Limits   Limits            `msgpack:"limits"`
	Since    uint32            `msgpack:"since,omitempty"`  // how long ago it was sent first, 0 for the first time
	Moved    bool              `msgpack:"moved,omitempty"`  // it was sent to another broker before
	Broker   uuid.UUID         `msgpack:"broker"`           // that had welcomed the client when it was sent first
	Epoch    uint64            `msgpack:"epoch,omitempty"`  // of that broker then
	Method   string            `msgpack:"method,omitempty"` // of call 1, which comes along; empty: none does
	Args     []byte            `msgpack:"args,omitempty"`
	Raw      bool              `msgpack:"raw,omitempty"`
	Budget   uint32            `msgpack:"budget,omitempty"`
	Patience uint32            `msgpack:"patience,omitempty"` // of that call, as in the header
	Once     bool              `msgpack:"once,omitempty"`     // the session ends with call 1
	Want     string            `msgpack:"want,omitempty"`     // the value that its node must have said, where the pool's policy is equal
	Trace    []byte            `msgpack:"trace,omitempty"`    // of that call, as Trace.Field has it
}

// Opened is the route.
type Opened struct {
	Request     uuid.UUID      `msgpack:"request"`
	Broker      uuid.UUID      `msgpack:"broker"`
	Node        session.NodeID `msgpack:"node"`
	NodeName    string         `msgpack:"node_name"`
	PID         int            `msgpack:"pid"`
	Pool        string         `msgpack:"pool"`
	Worker      int            `msgpack:"worker"`
	Incarnation uint64         `msgpack:"incarnation"`
	Session     session.ID     `msgpack:"session"`
	Key         session.Key    `msgpack:"key"`
	Epoch       uint32         `msgpack:"epoch"`
	Endpoint    string         `msgpack:"endpoint"`
	Limits      Limits         `msgpack:"limits"` // in force
}

// Refused says why there is no route.
type Refused struct {
	Request uuid.UUID    `msgpack:"request"`
	Code    session.Code `msgpack:"code"`
	Text    string       `msgpack:"text"`
	Unknown bool         `msgpack:"unknown,omitempty"` // the call that came along may have run
}

// Queued tells a waiting client its place, 1 for the next.
type Queued struct {
	Request uuid.UUID `msgpack:"request"`
	Place   uint32    `msgpack:"place"`
}

// Withdraw takes an open back. It is answered by Refused with ErrWithdrawn,
// whatever state the open was in.
type Withdraw struct {
	Client  uuid.UUID `msgpack:"client"`
	Request uuid.UUID `msgpack:"request"`
}

// Offer asks a node to take a session.
type Offer struct {
	Epoch    uint64    `msgpack:"epoch"` // master epoch it is made under
	Client   uuid.UUID `msgpack:"client"`
	Request  uuid.UUID `msgpack:"request"`
	Pool     string    `msgpack:"pool"`
	Limits   Limits    `msgpack:"limits"`
	Method   string    `msgpack:"method,omitempty"` // of call 1, which comes along; empty: none does
	Args     []byte    `msgpack:"args,omitempty"`
	Raw      bool      `msgpack:"raw,omitempty"`
	Budget   uint32    `msgpack:"budget,omitempty"`
	Patience uint32    `msgpack:"patience,omitempty"`
	Once     bool      `msgpack:"once,omitempty"`
	Via      Peer      `msgpack:"via,omitempty"` // the return path of call 1
	Try      uint32    `msgpack:"try,omitempty"` // how often the open has come back: a node that declined a try declines its copies
	Trace    []byte    `msgpack:"trace,omitempty"`
}

// Accept takes it.
type Accept struct {
	Seq  uint64 `msgpack:"seq"`
	Live Live   `msgpack:"live"`
}

// Live is one session that lives on a node, as Accept and Register report it.
type Live struct {
	Client      uuid.UUID   `msgpack:"client"`
	Request     uuid.UUID   `msgpack:"request"`
	Pool        string      `msgpack:"pool"`
	Worker      int         `msgpack:"worker"`
	Incarnation uint64      `msgpack:"incarnation"`
	Session     session.ID  `msgpack:"session"`
	Key         session.Key `msgpack:"key"`
	Epoch       uint32      `msgpack:"epoch"`
	Limits      Limits      `msgpack:"limits"`
	Holder      uuid.UUID   `msgpack:"holder"`                // the client that attached to it, zero while it is Client
	Over        bool        `msgpack:"over,omitempty"`        // it has ended; its reply is kept for its client
	First       bool        `msgpack:"first,omitempty"`       // a call came along with its open
	Once        bool        `msgpack:"once,omitempty"`        // and it ends with that call
	Starting    bool        `msgpack:"starting,omitempty"`    // the pool's Open still runs
	Try         uint32      `msgpack:"try,omitempty"`         // of the offer that it was taken by, while it starts
	Quarantined bool        `msgpack:"quarantined,omitempty"` // a call of it hung: it is over, and its handler still holds the slot
}

// Decline does not take it.
type Decline struct {
	Seq     uint64       `msgpack:"seq"`
	Client  uuid.UUID    `msgpack:"client"`
	Request uuid.UUID    `msgpack:"request"`
	Pool    string       `msgpack:"pool"`
	Code    session.Code `msgpack:"code"`
	Text    string       `msgpack:"text"`
	Try     uint32       `msgpack:"try,omitempty"` // of the offer that is declined
}

// Revoke takes an offer back, before or after it was accepted. The node ends
// the session if it has one for it.
type Revoke struct {
	Epoch   uint64       `msgpack:"epoch"`
	Client  uuid.UUID    `msgpack:"client"`
	Request uuid.UUID    `msgpack:"request"`
	Code    session.Code `msgpack:"code"`
}

// Pool is one pool that a node serves.
type Pool struct {
	Name    string   `msgpack:"name"`
	Slots   int      `msgpack:"slots"`
	Methods []string `msgpack:"methods,omitempty"`
	Locked  bool     `msgpack:"locked,omitempty"` // one OS thread per session
	Policy  string   `msgpack:"policy,omitempty"` // of placement; empty: the broker's
	Value   string   `msgpack:"value,omitempty"`  // as in Beat
	Least   int      `msgpack:"least,omitempty"`  // slots that it shrinks to, where it grows and shrinks
	Most    int      `msgpack:"most,omitempty"`   // and grows to; 0: it does neither
}

// Register is all a broker needs to know of a node. A node with many sessions
// sends several; More says that another follows.
type Register struct {
	Seq      uint64            `msgpack:"seq"`
	Part     uint32            `msgpack:"part"` // 0, 1, ...
	More     bool              `msgpack:"more"`
	Node     session.NodeID    `msgpack:"node"`
	Secret   session.Key       `msgpack:"secret"` // drawn with the id: only who knows it registers that node again
	Name     string            `msgpack:"name"`
	Host     string            `msgpack:"host"`
	PID      int               `msgpack:"pid"`
	Endpoint string            `msgpack:"endpoint"`
	Labels   map[string]string `msgpack:"labels,omitempty"`
	Pools    []Pool            `msgpack:"pools"`
	Beat     uint32            `msgpack:"beat"`
	Misses   uint8             `msgpack:"misses"`
	Epoch    uint64            `msgpack:"epoch"` // the highest master epoch it has seen
	Drain    bool              `msgpack:"drain"`
	Live     []Live            `msgpack:"live"`
}

// Registered confirms a Register, or asks for it anew when Again is set: the
// broker missed a change.
type Registered struct {
	Epoch uint64 `msgpack:"epoch"`
	Seq   uint64 `msgpack:"seq"`
	Again bool   `msgpack:"again"`
}

// Ended reports that a session is over and its slot is free.
type Ended struct {
	Seq     uint64       `msgpack:"seq"`
	Session session.ID   `msgpack:"session"`
	Pool    string       `msgpack:"pool"`
	Code    session.Code `msgpack:"code"`
	Text    string       `msgpack:"text"`
}

// Drain asks a node to take nothing new and to end when its sessions have,
// or when the deadline has passed.
type Drain struct {
	Epoch    uint64 `msgpack:"epoch"`
	Deadline uint32 `msgpack:"deadline"` // from now, 0 = none
}

// Leave says that a node ends on purpose and holds nothing any more.
type Leave struct {
	Seq uint64 `msgpack:"seq"`
}

// Lost tells a client that the worker of these sessions is gone.
type Lost struct {
	Node     session.NodeID `msgpack:"node"`
	Sessions []session.ID   `msgpack:"sessions"`
	Started  []uint64       `msgpack:"started,omitempty"` // for each: the highest call it had started; empty: not known
	Code     session.Code   `msgpack:"code"`
	Text     string         `msgpack:"text"`
}

// Obituary says that a node on the sender's machine is dead, by the start
// record it left behind. Those with many sessions come in parts; the broker
// gives the node up with the last.
type Obituary struct {
	Node     session.NodeID `msgpack:"node"`
	Part     uint32         `msgpack:"part"`
	More     bool           `msgpack:"more"`
	Sessions []session.ID   `msgpack:"sessions"`
	Started  []uint64       `msgpack:"started"`
	Code     session.Code   `msgpack:"code,omitempty"` // how its calls end; 0: ErrWorkerLost
	Text     string         `msgpack:"text,omitempty"` // why it died, in its supervisor's words
	Dump     string         `msgpack:"dump,omitempty"` // what it was doing, where its supervisor looked
}

// Autopsy says that a call hung, and where, as far as that is known. A later
// one of the same call knows more.
type Autopsy struct {
	Session     session.ID `msgpack:"session"`
	Pool        string     `msgpack:"pool"`
	Worker      int        `msgpack:"worker"`
	Incarnation uint64     `msgpack:"incarnation"`
	Call        uint64     `msgpack:"call"`
	Method      string     `msgpack:"method"`
	Budget      uint32     `msgpack:"budget"` // what it had
	Silent      uint32     `msgpack:"silent"` // for how long it had made no progress when this was sent
	Thread      int        `msgpack:"thread"` // the OS thread that the session is locked to, 0: none
	Stack       string     `msgpack:"stack"`  // of its goroutine, or why there is none
	Native      string     `msgpack:"native"` // of its thread inside C, or why there is none; empty where it is not in C
	Done        string     `msgpack:"done"`   // what was done about it
	Trace       []byte     `msgpack:"trace,omitempty"`
}

// Kind is what an envelope with this message begins with.
func (*Hello) Kind() Kind      { return KindHello }
func (*Welcome) Kind() Kind    { return KindWelcome }
func (*Error) Kind() Kind      { return KindError }
func (*Identify) Kind() Kind   { return KindIdentify }
func (*Beat) Kind() Kind       { return KindBeat }
func (*Open) Kind() Kind       { return KindOpen }
func (*Opened) Kind() Kind     { return KindOpened }
func (*Refused) Kind() Kind    { return KindRefused }
func (*Queued) Kind() Kind     { return KindQueued }
func (*Withdraw) Kind() Kind   { return KindWithdraw }
func (*Offer) Kind() Kind      { return KindOffer }
func (*Accept) Kind() Kind     { return KindAccept }
func (*Decline) Kind() Kind    { return KindDecline }
func (*Revoke) Kind() Kind     { return KindRevoke }
func (*Register) Kind() Kind   { return KindRegister }
func (*Registered) Kind() Kind { return KindRegistered }
func (*Ended) Kind() Kind      { return KindEnded }
func (*Lost) Kind() Kind       { return KindLost }
func (*Drain) Kind() Kind      { return KindDrain }
func (*Leave) Kind() Kind      { return KindLeave }
func (*Obituary) Kind() Kind   { return KindObituary }
func (*Autopsy) Kind() Kind    { return KindAutopsy }

// New returns an empty message of a control kind, nil for any other.
func New(k Kind) Control { //nolint:funlen // one line a kind
	switch k {
	case KindHello:
		return new(Hello)
	case KindWelcome:
		return new(Welcome)
	case KindError:
		return new(Error)
	case KindIdentify:
		return new(Identify)
	case KindBeat:
		return new(Beat)
	case KindOpen:
		return new(Open)
	case KindOpened:
		return new(Opened)
	case KindRefused:
		return new(Refused)
	case KindQueued:
		return new(Queued)
	case KindWithdraw:
		return new(Withdraw)
	case KindOffer:
		return new(Offer)
	case KindAccept:
		return new(Accept)
	case KindDecline:
		return new(Decline)
	case KindRevoke:
		return new(Revoke)
	case KindRegister:
		return new(Register)
	case KindRegistered:
		return new(Registered)
	case KindEnded:
		return new(Ended)
	case KindLost:
		return new(Lost)
	case KindDrain:
		return new(Drain)
	case KindLeave:
		return new(Leave)
	case KindObituary:
		return new(Obituary)
	case KindAutopsy:
		return new(Autopsy)
	case KindBroadcast:
		return new(Broadcast)
	case KindCast:
		return new(Cast)
	case KindAnswer:
		return new(Answer)
	case KindAnswered:
		return new(Answered)
	case KindComplete:
		return new(Complete)
	case KindHeard:
		return new(Heard)
	default:
		return nil
	}
}

var encoders = sync.Pool{New: func() any { return msgpack.NewEncoder(nil) }}

// AppendControl appends a control message. Maps are written in key order: the
// same message is the same bytes.
func AppendControl(dst []byte, m Control) []byte {
	if p := plans[m.Kind()]; p != nil && p.whole {
		if out, ok := p.append(append(dst, byte(m.Kind())), address(m)); ok {
			return out
		}
	}
	return appendSlowly(dst, m)
}

// address is where the struct is that a control message points to.
func address(m Control) unsafe.Pointer { return reflect.ValueOf(m).UnsafePointer() }

// appendSlowly is AppendControl by the library alone.
func appendSlowly(dst []byte, m Control) []byte {
	buf := bytes.NewBuffer(append(dst, byte(m.Kind())))
	enc := encoders.Get().(*msgpack.Encoder)
	enc.Reset(buf)
	enc.SetSortMapKeys(true)
	enc.UseCompactInts(true)
	err := enc.Encode(m)
	encoders.Put(enc)
	if err != nil { // no field of a control message can fail to encode
		panic(fmt.Sprintf("wire: encode %s: %v", m.Kind(), err))
	}
	return buf.Bytes()
}

// ErrControl is a control message that does not decode or claims what cannot
// be.
var ErrControl = errors.New("wire: malformed control message")

var decoders = sync.Pool{New: func() any { return msgpack.NewDecoder(nil) }}

// ParseControl decodes and checks a control message.
func ParseControl(env []byte) (Control, error) {
	m := New(KindOf(env))
	if m == nil {
		return nil, fmt.Errorf("%w: no control message is of %s", ErrControl, KindOf(env))
	}
	if m, ok, err := parseAs(m, env, nil); ok {
		return m, err
	}
	return parseSlowly(env)
}

// parseAs is ParseControl into m, an empty message of env's kind; ok is false
// where that is not in the form that a plan reads.
func parseAs(m Control, env []byte, w *words) (_ Control, ok bool, err error) {
	k := m.Kind()
	if rest, ok := plans[k].read(env[1:], address(m), w); !ok || len(rest) > 0 {
		return nil, false, nil
	}
	if err := m.Check(); err != nil {
		return nil, true, fmt.Errorf("%w: %s: %w", ErrControl, k, err)
	}
	return m, true, nil
}

// parseSlowly is ParseControl for a message in any form, and for one that is
// wrong: it says what is.
func parseSlowly(env []byte) (Control, error) {
	m := New(KindOf(env))
	if err := shape(env[1:], reflect.TypeOf(m).Elem()); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrControl, m.Kind(), err)
	}
	dec := decoders.Get().(*msgpack.Decoder)
	defer decoders.Put(dec)
	dec.Reset(bytes.NewReader(env[1:]))
	if err := decode(dec, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrControl, m.Kind(), err)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrControl, m.Kind(), err)
	}
	return m, nil
}

// decode keeps a decoder's panic on hostile input from ending the process.
func decode(dec *msgpack.Decoder, m Control) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("does not decode: %v", p)
		}
	}()
	return dec.Decode(m)
}
