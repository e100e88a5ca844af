package wire

import (
	"bytes"
	"slices"
)

// Reader parses control messages for one state machine. It reads those that
// make up a session's life into the same memory again: what Control returns is
// good until the next call. Its texts and bytes may be kept.
type Reader struct {
	words words // and what it does with bytes

	open   Open
	opened Opened
	offer  Offer
	accept Accept
	ended  Ended
}

// Control is ParseControl.
func (r *Reader) Control(env []byte) (Control, error) {
	if m := r.again(KindOf(env)); m != nil {
		if m, ok, err := parseAs(m, env, &r.words); ok {
			return m, err
		}
	}
	return ParseControl(env)
}

// again returns an empty message of a kind that is read into the same memory,
// nil for any other.
func (r *Reader) again(k Kind) Control {
	switch k {
	case KindOpen:
		r.open = Open{}
		return &r.open
	case KindOpened:
		r.opened = Opened{}
		return &r.opened
	case KindOffer:
		r.offer = Offer{}
		return &r.offer
	case KindAccept:
		r.accept = Accept{}
		return &r.accept
	case KindEnded:
		r.ended = Ended{}
		return &r.ended
	default:
		return nil
	}
}

// NewReader returns a Reader. Where keeps is set the bytes of what it reads stay in
// the message's own memory, which is then its owner's no more.
func NewReader(keeps bool) Reader { return Reader{words: words{keeps: keeps}} }

// words keeps texts that come again and again: names of pools, of methods, of
// nodes. nil keeps none.
type words struct {
	kept  [wordsKept]string
	keeps bool // bytes are not copied
}

const (
	wordsKept = 64
	wordMost  = 64 // bytes of a text that is kept
)

// text is b as a string.
func (w *words) text(b []byte) string {
	if w == nil || len(b) == 0 || len(b) > wordMost {
		return string(b)
	}
	at := &w.kept[(len(b)*31^int(b[0])*7^int(b[len(b)/2])*5^int(b[len(b)-1]))%wordsKept]
	if *at != string(b) {
		*at = string(b)
	}
	return *at
}

// bytes is b, or a copy.
func (w *words) bytes(b []byte) []byte {
	if w != nil && w.keeps {
		return slices.Clip(b)
	}
	return bytes.Clone(b)
}
