package session

// Bounds of a stream: an argument or a reply that travels as chunks.
const (
	// MaxChunk bounds the bytes of one chunk.
	MaxChunk = 512 << 10
	// MaxCredit bounds the bytes that one credit may grant beyond what was taken.
	MaxCredit = 64 << 20
	// DefaultCredit is how many bytes of one stream either end keeps: sent and
	// not acknowledged, or taken and not read.
	DefaultCredit = 4 << 20
	// DefaultRoad is how many bytes of all streams are on their way to one peer,
	// or to one client behind it.
	DefaultRoad = 1 << 20
)

// Memory is what a chunk lies in where that is counted: whoever keeps the chunk
// holds it, and drops it once when done. A nil Memory is the garbage
// collector's.
type Memory interface {
	Hold()
	Drop()
}

// Chunk is one part of a stream: bytes from an absolute offset on.
type Chunk struct {
	At   uint64
	Body []byte
	Mem  Memory
}

// End is the offset behind the chunk's last byte.
func (c *Chunk) End() uint64 { return c.At + uint64(len(c.Body)) }

// Drop gives the chunk's memory back.
func (c *Chunk) Drop() {
	if c.Mem != nil {
		c.Mem.Drop()
	}
	*c = Chunk{}
}
