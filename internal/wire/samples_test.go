package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// The cast of the golden frames.
var (
	sampleClient  = uuid.MustParse("c11e0000-0000-4000-8000-000000000001")
	sampleBroker  = uuid.MustParse("b20ce000-0000-4000-8000-000000000002")
	sampleRequest = uuid.MustParse("4e900000-0000-4000-8000-000000000003")
	sampleSession = uuid.MustParse("5e550000-0000-4000-8000-000000000004")
	sampleKey     = session.Key{0x6b, 0x65, 0x79, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5}
)

const sampleNode session.NodeID = 0x0de0000000000006

// sampleTrace is the example of the W3C recommendation.
var sampleTrace = Trace{
	0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c,
	0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31, 1,
}

var sampleMember = AppendMember(nil, session.MemberID{Node: sampleNode})

// controlSamples holds one message of every control kind.
func controlSamples() []Control {
	limits := Limits{Lease: 10_000, Window: 64}
	live := Live{
		Client: sampleClient, Request: sampleRequest, Pool: "counter", Worker: 2, Incarnation: 7,
		Session: sampleSession, Key: sampleKey, Epoch: 1, Limits: limits,
	}
	return []Control{
		&Hello{Min: 1, Max: 1, Role: RoleClient, ID: sampleClient, Name: "shop", Program: "shop/1.0", Beat: 1000},
		&Welcome{
			Version: 1, Broker: sampleBroker, Name: "broker-1", Program: "limpet/1.0", Epoch: 3, Beat: 1000, Misses: 3,
			Lease: 10_000, MaxBody: MaxEnvelope,
		},
		&Error{Code: session.ErrBadMessage, Text: "wire: malformed control message: open: pool is empty", Of: KindOpen},
		&Identify{Broker: sampleBroker, Epoch: 3},
		&Beat{
			Seq: 9, Epoch: 3, Late: 4, Values: map[string]string{"counter": "A"},
			Sizes:  []Size{{Pool: "counter", Slots: 6, Was: 4, Why: "grew: 2 wait, the longest 1.2s", Ago: 350}},
			Queues: []Queue{{Pool: "counter", Waiting: 2, Oldest: 1200, Nodes: 3}},
		},
		&Open{
			Client: sampleClient, Request: sampleRequest, Pool: "counter", Labels: map[string]string{"zone": "a", "gpu": "yes"},
			Priority: -1, Wait: 5000, Notify: true, Limits: Limits{Idle: 60_000}, Broker: sampleBroker, Epoch: 3,
		},
		&Opened{
			Request: sampleRequest, Broker: sampleBroker, Node: sampleNode, NodeName: "node-1", PID: 4711, Pool: "counter",
			Worker: 2, Incarnation: 7, Session: sampleSession, Key: sampleKey, Epoch: 1, Limits: limits,
		},
		&Refused{Request: sampleRequest, Code: session.ErrPoolUnknown, Text: `no node serves a pool "counter"`},
		&Queued{Request: sampleRequest, Place: 2},
		&Withdraw{Client: sampleClient, Request: sampleRequest},
		&Offer{Epoch: 3, Client: sampleClient, Request: sampleRequest, Pool: "counter", Limits: Limits{Idle: 60_000}},
		&Accept{Seq: 10, Live: live},
		&Decline{
			Seq: 9, Client: sampleClient, Request: sampleRequest, Pool: "counter", Code: session.ErrOverloaded, Text: "no slot is free",
		},
		&Revoke{Epoch: 3, Client: sampleClient, Request: sampleRequest, Code: session.ErrWithdrawn},
		&Register{
			Seq: 10, Node: sampleNode, Secret: sampleKey, Name: "node-1", Host: "host-1", PID: 4711, Labels: map[string]string{"zone": "a"},
			Pools: []Pool{{Name: "counter", Slots: 4, Methods: []string{"add", "get"}, Locked: true}},
			Beat:  1000, Misses: 3, Epoch: 3, Live: []Live{live},
		},
		&Registered{Epoch: 3, Seq: 10},
		&Ended{Seq: 11, Session: sampleSession, Pool: "counter", Code: session.ErrSessionClosed, Text: "closed by its holder"},
		&Drain{Epoch: 3, Deadline: 30_000},
		&Leave{Seq: 12},
		&Lost{Node: sampleNode, Sessions: []session.ID{sampleSession}, Code: session.ErrWorkerLost, Text: "node-1: no beat for 3s"},
		&Obituary{Node: sampleNode, Part: 1, More: true, Code: session.ErrWorkerHung, Text: "no beat", Dump: "goroutine 1"},
		&Autopsy{
			Session: sampleSession, Pool: "counter", Worker: 2, Incarnation: 7, Call: 5, Method: "add", Budget: 60_000, Silent: 60_020,
			Thread: 4712, Stack: "main.spin\n\tmain.go:12", Done: "quarantined", Trace: sampleTrace.Field(),
		},
		&Broadcast{
			Client: sampleClient, Request: sampleRequest, Pool: "counter", Method: "size", Args: []byte{0xc0}, Budget: 5000,
			Since: 1000, Try: 1, Broker: sampleBroker, Run: 3, Have: 1, Missing: sampleMember, Trace: sampleTrace.Field(),
		},
		&Cast{
			Epoch: 3, Client: sampleClient, Request: sampleRequest, Pool: "counter", Method: "size", Args: []byte{0xc0}, Budget: 4990, Since: 10,
			Trace: sampleTrace.Field(),
		},
		&Answer{Client: sampleClient, Request: sampleRequest, Members: []Member{{Node: sampleNode, Fate: session.FateAnswered, Body: []byte{8}}}},
		&Answered{
			Request: sampleRequest, Broker: sampleBroker, Run: 3, First: 1, Known: true, Snapshot: sampleMember,
			Members: []Member{{Node: sampleNode, Name: "node-1", Fate: session.FateAnswered, Body: []byte{8}}},
		},
		&Complete{Request: sampleRequest, Broker: sampleBroker, Run: 3, Members: 6, Answered: 5, Died: 1},
		&Heard{Client: sampleClient, Request: sampleRequest, Broker: sampleBroker, Run: 3, Have: 6, Done: true},
	}
}

// sessionSamples holds one envelope of every session kind.
func sessionSamples() map[Kind][]byte {
	held := Header{Epoch: 1, Node: sampleNode, Session: sampleSession, Key: sampleKey, Number: 5, Ack: 4}
	answer := func(k Kind) Header {
		return Header{Kind: k, Epoch: 1, Via: 0x11, Node: sampleNode, Session: sampleSession, Number: 5}
	}
	all := map[Kind][]byte{}
	keep := func(h Header, body []byte) { all[h.Kind] = append(h.Append(nil), body...) }

	call := held
	call.Budget = 1500 * time.Millisecond
	all[KindCall] = AppendCall(nil, &call, "add", []byte{0x81, 0xa1, 'n', 3})
	cancel := held
	cancel.Kind = KindCancel
	keep(cancel, nil)
	closing := held
	closing.Kind = KindClose
	keep(closing, nil)
	keep(Header{Kind: KindLease, Node: sampleNode, Session: sampleClient, Number: 1, Ack: 0xde55000000004004}, sampleSession[:])

	chunk := held
	chunk.Kind, chunk.Ack = KindArgChunk, 262144
	keep(chunk, []byte("abc"))
	credit := held
	credit.Kind, credit.Ack = KindReplyCredit, 262144
	credit.SetWindow(4 << 20)
	keep(credit, nil)

	attach := held
	attach.Kind, attach.Number, attach.Ack = KindAttach, 0, 0
	keep(attach, nil)

	keep(answer(KindAttached), nil)
	keep(answer(KindProgress), nil)
	keep(answer(KindReply), []byte{8})
	last := answer(KindReplyChunk)
	last.Flags, last.Ack = FlagStream, 524288
	last.SetSum(0x364b3fb7)
	keep(last, []byte("abc"))
	granted := answer(KindArgCredit)
	granted.Ack = 524291
	granted.SetWindow(4 << 20)
	keep(granted, nil)
	fail := answer(KindFail)
	fail.Code = session.ErrDeadline
	fail.SetOutcome(session.NotRun)
	keep(fail, AppendFailure(nil, "the caller's time was over", ""))
	keep(answer(KindHeld), nil)
	keep(answer(KindClosed), nil)
	keep(Header{Kind: KindLeased, Flags: FlagAgain, Via: 0x11, Node: sampleNode, Session: sampleClient}, nil)
	expired := answer(KindExpired)
	expired.Number, expired.Code = 0, session.ErrSessionExpired
	keep(expired, AppendFailure(nil, "lease over", ""))
	return all
}

// envelopes holds one envelope of every kind.
func envelopes() map[Kind][]byte {
	all := sessionSamples()
	for _, m := range controlSamples() {
		all[m.Kind()] = AppendControl(nil, m)
	}
	return all
}

// fill sets every field below v to a random value that Check lets pass.
func fill(chance *rand.Rand, v reflect.Value, field string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(chance, v.Field(i), fieldName(v.Type().Field(i)))
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(chance.UintN(255) + 1))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(word(chance, 500)))
			if field == "missing" || field == "snapshot" {
				v.SetBytes(bytes.Repeat(sampleMember, chance.IntN(20)+1))
			}
			if field == "trace" {
				v.SetBytes(bytes.Repeat([]byte{7}, chance.IntN(2)*TraceSize))
			}
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), chance.IntN(4), 4))
		for i := range v.Len() {
			fill(chance, v.Index(i), "name")
		}
	case reflect.Map:
		labels := map[string]string{}
		for i := range chance.IntN(20) {
			labels[fmt.Sprintf("%d-%s", i, word(chance, 20))] = word(chance, MaxName)
		}
		v.Set(reflect.ValueOf(labels))
	case reflect.String:
		v.SetString(word(chance, MaxName))
		if field == "role" {
			v.SetString([]string{RoleClient, RoleNode, RoleBroker}[chance.IntN(3)])
		}
	case reflect.Bool:
		v.SetBool(chance.IntN(2) == 0)
	default:
		integerFill(chance, v, field)
	}
}

func integerFill(chance *rand.Rand, v reflect.Value, field string) {
	width := chance.IntN(v.Type().Bits()) + 1
	n := chance.Uint64() >> (64 - width)
	switch field {
	case "min":
		n = 0
	case "slots", "was", "least", "most":
		n %= MaxSlots
	case "fate":
		n %= uint64(session.FateLast) + 1
	}
	if v.CanUint() {
		v.SetUint(max(n, 1))
		return
	}
	i := int64(n >> 1) // so that it is positive
	if field == "priority" && chance.IntN(2) == 0 {
		i = -i
	}
	v.SetInt(i)
}

func word(chance *rand.Rand, most int) string {
	b := make([]byte, chance.IntN(most)+1)
	for i := range b {
		b[i] = byte('a' + chance.IntN(26))
	}
	return string(b)
}
