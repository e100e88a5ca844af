package wire

import "github.com/limpet-rpc/limpet/session"

// Batch collects the envelopes that one step of a state machine wants sent.
// Its owner resets it before the step and sends Outs afterwards; their memory
// is the batch's and good until the next Reset.
type Batch struct {
	Outs   []Out
	Chunks []Chunk // to be sent behind them
	buf    []byte
}

// batchKeep is how much memory a batch keeps from one step to the next.
const batchKeep = 512 << 10

// Reset empties the batch.
func (b *Batch) Reset() {
	if cap(b.buf) > batchKeep {
		b.buf = nil
	}
	clear(b.Outs)
	clear(b.Chunks)
	b.Outs, b.Chunks, b.buf = b.Outs[:0], b.Chunks[:0], b.buf[:0]
}

// Control adds a control message.
func (b *Batch) Control(to Peer, m Control) {
	start := len(b.buf)
	b.buf = AppendControl(b.buf, m)
	b.out(to, start)
}

// Session adds a session message without a method: header and body.
func (b *Batch) Session(to Peer, h *Header, body []byte) {
	start := len(b.buf)
	b.buf = append(h.Append(b.buf), body...)
	b.out(to, start)
}

// Fail adds a fail with its code, outcome and words.
func (b *Batch) Fail(to Peer, h Header, code session.Code, o session.Outcome, text, stack string) {
	h.Kind, h.Code, h.Flags, h.Key, h.Budget = KindFail, code, 0, session.Key{}, 0
	h.SetOutcome(o)
	b.Session(to, &h, AppendFailure(nil, text, stack))
}

// Copy adds a copy of an envelope.
func (b *Batch) Copy(to Peer, env []byte) {
	start := len(b.buf)
	b.buf = append(b.buf, env...)
	b.out(to, start)
}

// Pass adds an envelope as it is; it must stay untouched until it is sent.
func (b *Batch) Pass(to Peer, env []byte) { b.Outs = append(b.Outs, Out{To: to, Env: env}) }

func (b *Batch) out(to Peer, start int) {
	b.Outs = append(b.Outs, Out{To: to, Env: b.buf[start:len(b.buf):len(b.buf)]})
}
