package zmqio

import (
	"encoding/binary"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// counter of one is given numbers, in portions.
type counter struct {
	desk

	foreseen []uint32 // of the portion, that have not come
	numbers  []uint32
	portions []int
	gathered int // portions after which the loop has gathered
	wrong    int // envelopes that were not those foreseen
	faulty   chan struct{}
}

func (c *counter) Begin()     { c.portions = append(c.portions, 0) }
func (c *counter) End()       {}
func (c *counter) Left() bool { return false }
func (c *counter) Gather()    { c.gathered = len(c.portions) }

func (c *counter) Foresee(next wire.Envelopes, most int) {
	c.foreseen = c.foreseen[:0]
	for range most {
		env, ok := next.Next()
		if !ok {
			break
		}
		c.foreseen = append(c.foreseen, binary.BigEndian.Uint32(env))
	}
}

func (c *counter) Envelope(_ wire.Peer, env []byte) {
	last := len(c.portions) - 1
	if c.portions[last] == 0 && c.gathered < last {
		c.wrong++ // the portion before has not been followed by anything
	}
	c.portions[last]++
	n := binary.BigEndian.Uint32(env)
	c.numbers = append(c.numbers, n)
	if len(c.foreseen) == 0 || c.foreseen[0] != n {
		c.wrong++
		return
	}
	c.foreseen = c.foreseen[1:]
}

func (c *counter) Malformed(wire.Peer, error) { close(c.faulty) }

// A frame with many envelopes is handed over in portions, in order and each once,
// with the loop's other work between them; what comes behind a fault in it is not, and
// the fault is told after what precedes it. The memory is not used again before the
// last of them.
func TestPortions(t *testing.T) {
	c := &counter{faulty: make(chan struct{})}
	l, stop := start(t, c, Options{})
	const many = 5*portion + 7
	frame := wire.AppendHead(nil)
	for n := range uint32(many) {
		frame = wire.AppendEnvelope(frame, binary.BigEndian.AppendUint32(nil, n))
	}
	frame = append(frame, 0, 0, 0, 0) // an envelope of no length
	dealer := raw(t, zmq.DEALER, listen(t, l))
	if _, err := dealer.SendBytes(frame, 0); err != nil {
		t.Fatal(err)
	}
	await(t, c.faulty, "the fault")
	stop()
	if len(c.numbers) != many || c.wrong > 0 {
		t.Errorf("%d envelopes, want %d; %d were not as they should be", len(c.numbers), many, c.wrong)
	}
	for at, n := range c.numbers {
		if n != uint32(at) {
			t.Fatalf("number %d at %d", n, at)
		}
	}
	for _, n := range c.portions {
		if n > portion {
			t.Errorf("a portion of %d", n)
		}
	}
}

// The clock asks for nothing between two portions: by then nobody else has been
// listened to, and a handler would take for silence what has not been read.
func TestNoTickBetweenPortions(t *testing.T) {
	c := &counter{faulty: make(chan struct{})}
	const many = 5*portion + 7
	halfway := 0
	c.tick = func(time.Time) {
		if n := len(c.numbers); n > 0 && n < many {
			halfway++
		}
	}
	l, stop := start(t, c, Options{Tick: 1}) // it is always due
	frame := wire.AppendHead(nil)
	for n := range uint32(many) {
		frame = wire.AppendEnvelope(frame, binary.BigEndian.AppendUint32(nil, n))
	}
	frame = append(frame, 0, 0, 0, 0) // an envelope of no length
	dealer := raw(t, zmq.DEALER, listen(t, l))
	if _, err := dealer.SendBytes(frame, 0); err != nil {
		t.Fatal(err)
	}
	await(t, c.faulty, "the fault")
	stop()
	if halfway > 0 {
		t.Errorf("%d ticks among %d envelopes", halfway, many)
	}
}
