package wire

import "fmt"

// Kind is the first byte of every envelope.
type Kind uint8

// Control messages: the kind, then one MessagePack map.
const (
	KindHello      Kind = 1  // anyone -> broker or node: who I am
	KindWelcome    Kind = 2  // the answer
	KindError      Kind = 3  // the answer to what was malformed or not allowed
	KindIdentify   Kind = 4  // broker -> anyone: I do not know you (any more), say Hello
	KindBeat       Kind = 5  // both ways, from the loop that does the work
	KindOpen       Kind = 10 // client -> broker: a worker, please
	KindOpened     Kind = 11 // broker -> client: the route
	KindRefused    Kind = 12 // broker -> client: no route, and why
	KindQueued     Kind = 13 // broker -> client: your place
	KindWithdraw   Kind = 14 // client -> broker: I no longer want it
	KindOffer      Kind = 20 // broker -> node: will you take this one?
	KindAccept     Kind = 21 // node -> broker: taken, here is the route
	KindDecline    Kind = 22 // node -> broker: not taken, and why
	KindRevoke     Kind = 23 // broker -> node: nobody came for it, take it back
	KindRegister   Kind = 24 // node -> broker: what I serve and what lives here
	KindRegistered Kind = 25 // broker -> node: known
	KindEnded      Kind = 26 // node -> broker: a session is over, its slot free
	KindLost       Kind = 27 // broker -> client: these sessions' node is gone
	KindDrain      Kind = 28 // broker -> node: take nothing new, end when you are empty
	KindLeave      Kind = 29 // node -> broker: I am done, forget me
	KindObituary   Kind = 30 // node -> broker: a node of my machine is dead, and this it had started
	KindAutopsy    Kind = 31 // node -> broker: a call hangs, and where
	KindBroadcast  Kind = 32 // client -> broker: ask every member of a pool
	KindCast       Kind = 33 // broker -> node: your part of a broadcast
	KindAnswer     Kind = 34 // node -> broker: what came of it
	KindAnswered   Kind = 35 // broker -> client: what became of members
	KindComplete   Kind = 36 // broker -> client: every member is settled
	KindHeard      Kind = 37 // client -> broker: so much has come, or all
)

// Session messages: the fixed header, then the body. Brokers pass them on by
// the header alone. 64 to 79 go towards the worker, 80 to 95 towards the
// holder.
const (
	KindCall   Kind = 64
	KindCancel Kind = 65
	KindClose  Kind = 66
	KindLease  Kind = 67 // a client's beat for all its sessions on one node
	KindAttach Kind = 68 // by token: the session is mine from now on

	KindArgChunk    Kind = 69 // a part of a call's argument
	KindReplyCredit Kind = 70 // so much of a reply was taken, so much more may come

	KindReply   Kind = 80
	KindFail    Kind = 81
	KindHeld    Kind = 82 // I have this call already; its answer will come
	KindClosed  Kind = 83
	KindLeased  Kind = 84
	KindExpired Kind = 85 // the session ended at the worker's side

	KindAttached Kind = 86
	KindProgress Kind = 87 // of a call that runs

	KindReplyChunk Kind = 88 // a part of a call's reply
	KindArgCredit  Kind = 89 // so much of an argument was taken, so much more may come
)

var kindNames = [256]string{
	KindHello: "hello", KindWelcome: "welcome", KindError: "error", KindIdentify: "identify", KindBeat: "beat",
	KindOpen: "open", KindOpened: "opened", KindRefused: "refused", KindQueued: "queued", KindWithdraw: "withdraw",
	KindOffer: "offer", KindAccept: "accept", KindDecline: "decline", KindRevoke: "revoke",
	KindRegister: "register", KindRegistered: "registered", KindEnded: "ended", KindLost: "lost",
	KindDrain: "drain", KindLeave: "leave", KindObituary: "obituary", KindAutopsy: "autopsy",
	KindBroadcast: "broadcast", KindCast: "cast", KindAnswer: "answer", KindAnswered: "answered", KindComplete: "complete", KindHeard: "heard",
	KindCall: "call", KindCancel: "cancel", KindClose: "close", KindLease: "lease", KindAttach: "attach",
	KindReply: "reply", KindFail: "fail", KindHeld: "held", KindClosed: "closed", KindLeased: "leased", KindExpired: "expired",
	KindAttached: "attached", KindProgress: "progress",
	KindArgChunk: "arg-chunk", KindReplyCredit: "reply-credit", KindReplyChunk: "reply-chunk", KindArgCredit: "arg-credit",
}

// String is the kind's name in docs, logs and metrics.
func (k Kind) String() string {
	if k.Known() {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Known reports whether this version has such a kind.
func (k Kind) Known() bool { return kindNames[k] != "" }

// ToWorker reports whether envelopes of this kind travel from the holder to
// the worker.
func (k Kind) ToWorker() bool { return k >= 64 && k < 80 && k.Known() }

// ToHolder reports whether envelopes of this kind travel from the worker to
// the holder.
func (k Kind) ToHolder() bool { return k >= 80 && k < 96 && k.Known() }

// OfCall reports a kind that is about one call and wants to know what becomes of
// it.
func (k Kind) OfCall() bool {
	return k == KindCall || k == KindCancel || k == KindArgChunk || k == KindReplyCredit
}

// KindOf returns an envelope's kind; an empty envelope has kind 0.
func KindOf(env []byte) Kind {
	if len(env) == 0 {
		return 0
	}
	return Kind(env[0])
}

// Freight reports that an envelope is a part of what travels as chunks, or the reply
// that ends it: what is in order among itself, and may be overtaken by all else.
func Freight(env []byte) bool {
	switch KindOf(env) {
	case KindArgChunk, KindReplyChunk:
		return true
	case KindReply:
		return len(env) > offFlags && Flags(env[offFlags])&FlagStream != 0
	default:
		return false
	}
}

// OfFreight reports that an envelope is freight, or the credit for it.
func OfFreight(env []byte) bool {
	k := KindOf(env)
	return k == KindReplyCredit || k == KindArgCredit || Freight(env)
}

// Kinds lists every kind, for tests of the specification.
func Kinds() []Kind {
	var all []Kind
	for k := range kindNames {
		if Kind(k).Known() {
			all = append(all, Kind(k))
		}
	}
	return all
}
