package zmqio

import "errors"

// What can be wrong with a message's frames. What can be wrong inside its body
// is said by package wire.
var (
	ErrNoBody      = errors.New("zmqio: malformed message: no body frame")
	ErrExtraFrames = errors.New("zmqio: malformed message: more frames than one body")
	// ErrUnfinished is for a connection that was cut because it sent
	// Options.Unfinished bytes without completing a message.
	ErrUnfinished = errors.New("a message without an end")
)

// part is one frame of a message.
type part struct {
	bytes []byte
	more  bool   // further frames of the same message follow
	block *Block // whose frame bytes are, or nil
}

// assembly puts the frames of one message together: perhaps the empty delimiter
// that a REQ adds, exactly one body. It keeps at most one body, however many
// frames come.
//
//	opening ─empty→ delimited ─body→ opening
//	   │                └─more→ excess ⟲ ─last→ opening
//	   └─body→ opening, or ─more→ excess
type assembly struct {
	stage     stage
	size      int // bytes of the frames so far, counted by whoever reads them
	delimiter bool
	body      []byte
	block     *Block // whose frame body is, or nil
	fault     error
}

type stage uint8

const (
	stageOpening stage = iota
	stageDelimited
	stageExcess
)

func (a *assembly) begin() { *a = assembly{} }

// expects tells whether a frame would be kept: as the body if it is the last one.
func (a *assembly) expects(more bool) bool { return a.stage != stageExcess && !more }

// add takes the next frame and reports whether it was the last one.
func (a *assembly) add(p part) (complete bool) {
	switch {
	case a.stage == stageOpening && p.more && len(p.bytes) == 0:
		a.delimiter, a.stage = true, stageDelimited
	case a.stage == stageExcess:
	case p.more:
		a.stage, a.fault = stageExcess, ErrExtraFrames
	default:
		a.body, a.block = p.bytes, p.block
	}
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
