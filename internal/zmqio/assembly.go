package zmqio

import "errors"

// What can be wrong with a message's parts. What can be wrong inside its body
// is said by package wire.
var (
	ErrNoBody      = errors.New("zmqio: malformed message: no body frame")
	ErrExtraFrames = errors.New("zmqio: malformed message: more frames than one body")
)

// assembly puts the parts of one message together: an identity where the
// socket is a ROUTER, perhaps the empty delimiter that a REQ adds, exactly one
// body. It keeps at most one identity and one body, however many parts come.
//
//	start ─identity→ opening ─empty→ delimited ─body→ start
//	                    │                └─more→ excess ⟲ ─last→ start
//	                    └─body→ start, or ─more→ excess
type assembly struct {
	router    bool
	stage     stage
	identity  []byte
	origin    int // descriptor it came from, where that is known
	delimiter bool
	body      []byte
	block     *Block // whose frame body is, or nil
	fault     error
}

type stage uint8

const (
	stageIdentity stage = iota
	stageOpening
	stageDelimited
	stageExcess
)

func (a *assembly) begin() {
	*a = assembly{router: a.router, stage: stageOpening}
	if a.router {
		a.stage = stageIdentity
	}
}

// expectsMore tells that the next part cannot be the last one.
func (a *assembly) expectsMore() bool { return a.stage == stageIdentity }

// opens tells that the next part is the first one behind an identity.
func (a *assembly) opens() bool { return a.router && a.stage == stageOpening }

// expectsBody tells that the next part is the body if it is the last one.
func (a *assembly) expectsBody() bool { return a.stage == stageOpening || a.stage == stageDelimited }

// add takes the next part and reports whether it was the last one.
func (a *assembly) add(p part) (complete bool) {
	switch {
	case a.stage == stageIdentity:
		a.identity, a.stage = p.bytes, stageOpening
	case a.stage == stageOpening && p.more && len(p.bytes) == 0:
		a.delimiter, a.stage = true, stageDelimited
	case a.stage == stageExcess:
	case p.more:
		a.stage, a.fault = stageExcess, ErrExtraFrames
	default:
		a.body, a.block = p.bytes, p.block
	}
	a.origin = max(a.origin, p.origin)
	if p.more {
		return false
	}
	if a.fault == nil && len(a.body) == 0 {
		a.fault = ErrNoBody
	}
	return true
}

// drop gives up a message that nobody will get.
func (a *assembly) drop() {
	if a.block != nil {
		a.block.Release()
	}
}
