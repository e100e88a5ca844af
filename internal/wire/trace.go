package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// TraceSize is what FlagTrace adds to a header.
const TraceSize = 16 + 8 + 1

// Trace is a W3C trace context: trace id (16), parent id (8), trace flags (1).
// Its zero value is none.
type Trace [TraceSize]byte

// Valid reports that there is one: neither of its ids is all zero.
func (t Trace) Valid() bool {
	return [16]byte(t[:16]) != [16]byte{} && [8]byte(t[16:24]) != [8]byte{}
}

// ID is the trace's id, as people and the W3C recommendation write it; empty where
// there is none.
func (t Trace) ID() string {
	if !t.Valid() {
		return ""
	}
	return hex.EncodeToString(t[:16])
}

// Field is the trace as a control message has it: nil where there is none.
func (t Trace) Field() []byte {
	if !t.Valid() {
		return nil
	}
	return bytes.Clone(t[:]) // t itself would be the heap's for those that are none too
}

// TraceOf reads the field of a control message that Check has passed.
func TraceOf(field []byte) (t Trace) {
	copy(t[:], field)
	return t
}

func traced(field []byte) error {
	if n := len(field); n != 0 && n != TraceSize {
		return fmt.Errorf("trace: %d bytes, want %d or none", n, TraceSize)
	}
	return nil
}
