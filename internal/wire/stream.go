package wire

import (
	"bytes"
	"fmt"
	"reflect"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/limpet-rpc/limpet/session"
)

// Stream is the body of a call or reply whose argument or result comes as
// chunks.
type Stream struct {
	Size int64  `msgpack:"size"`          // bytes; of a call: below 0 where that is not known
	Sum  bool   `msgpack:"sum,omitempty"` // both ways with a CRC-32C over the whole
	CRC  uint32 `msgpack:"crc,omitempty"` // of a reply
}

// AppendStream appends it: a MessagePack map.
func AppendStream(dst []byte, d Stream) []byte {
	buf := bytes.NewBuffer(dst)
	enc := msgpack.NewEncoder(buf)
	enc.UseCompactInts(true)
	if err := enc.Encode(&d); err != nil {
		panic("wire: encode stream: " + err.Error()) // two numbers into memory cannot fail
	}
	return buf.Bytes()
}

// ParseStream reads it. Nothing may follow.
func ParseStream(body []byte) (Stream, error) {
	var d Stream
	if err := shape(body, reflect.TypeFor[Stream]()); err != nil {
		return d, fmt.Errorf("a stream's description: %w", err)
	}
	if err := msgpack.NewDecoder(bytes.NewReader(body)).Decode(&d); err != nil {
		return d, fmt.Errorf("a stream's description: %w", err)
	}
	return d, nil
}

// Window is how many bytes a credit grants beyond what it acknowledges.
func (h *Header) Window() uint64 { return uint64(h.Budget / time.Millisecond) }

// SetWindow sets it.
func (h *Header) SetWindow(n uint64) { h.Budget = time.Duration(uint32(n)) * time.Millisecond }

// Sum is the CRC-32C over the whole stream that its last chunk carries.
func (h *Header) Sum() uint32 { return uint32(h.Budget / time.Millisecond) }

// SetSum sets it.
func (h *Header) SetSum(crc uint32) { h.Budget = time.Duration(crc) * time.Millisecond }

// Chunk is one chunk to send. Its memory is held until it was sent.
type Chunk struct {
	To   Peer
	Head Header
	Body []byte
	Mem  session.Memory // nil: Body lies anywhere
}

// Part adds a part of a stream. One that was sent before is copied: what it lies
// in may be on its way with another header still.
func (b *Batch) Part(to Peer, h Header, part session.Chunk, again bool) {
	if again {
		h.Flags |= FlagAgain
		b.Session(to, &h, part.Body)
		return
	}
	if part.Mem != nil {
		part.Mem.Hold()
	}
	b.Chunks = append(b.Chunks, Chunk{To: to, Head: h, Body: part.Body, Mem: part.Mem})
}
