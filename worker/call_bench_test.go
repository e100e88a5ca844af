package worker

import (
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
)

// benchSessions is how many sessions call at once, each one call at a time.
const benchSessions = 64

// BenchmarkCall is a node's part of a plain call of 64 bytes, from its envelope to
// its answer's, without the sockets.
func BenchmarkCall(b *testing.B) {
	p := NewPool(Config[struct{}]{Pool: "p", Slots: benchSessions})
	Handle(p, "echo", func(_ context.Context, _ struct{}, body []byte) ([]byte, error) { return body, nil })
	n, err := newNode(Options{Logger: slog.New(slog.DiscardHandler), Broker: "tcp://127.0.0.1:1", Direct: directOff, Records: b.TempDir()}, []Served{p})
	if err != nil {
		b.Fatal(err)
	}
	broker := n.fx.Outs[0].To // of the Hello
	if err := n.discard(); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	c := &benchCallers{node: n, b: b, stop: stop}
	if n.loop, err = zmqio.NewLoop(c, zmqio.Options{Tick: tick}); err != nil {
		b.Fatal(err)
	}
	n.loop.Do(func() { c.open(broker) })
	if err := n.loop.Run(ctx); err != nil {
		b.Fatal(err)
	}
}

// benchCallers call in every session of a node, each again as soon as it has been
// answered. They stand between the node and its loop.
type benchCallers struct {
	*node
	b    *testing.B
	stop func()

	calls   []wire.Header // of each session, the one that was sent last
	done    int
	answers []int // by session, to be followed
	frame   []byte
	tasks   []*task
}

func (c *benchCallers) open(broker wire.Peer) {
	say := func(m wire.Control) { c.Envelope(broker, wire.AppendControl(nil, m)) }
	say(&wire.Welcome{Version: wire.Version, Broker: uuid.UUID{1}, Epoch: 1, Beat: 1000, Misses: 3})
	say(&wire.Registered{Epoch: 1})
	reader := wire.NewReader(true)
	for i := range benchSessions {
		say(&wire.Offer{Epoch: 1, Client: uuid.UUID{1}, Request: uuid.UUID{0: byte(i), 15: 1}, Pool: "p"})
		for _, o := range c.fx.Outs {
			if m, err := reader.Control(o.Env); err == nil && m.Kind() == wire.KindAccept {
				live := m.(*wire.Accept).Live
				c.calls = append(c.calls, wire.Header{Node: c.id, Session: live.Session, Key: live.Key, Epoch: live.Epoch})
				c.answers = append(c.answers, len(c.answers))
			}
		}
	}
	if len(c.calls) != benchSessions {
		c.b.Errorf("%d sessions", len(c.calls))
		c.stop()
	}
	slices.SortFunc(c.calls, func(a, b wire.Header) int { return slices.Compare(a.Session[:], b.Session[:]) }) // as Sessions are
	for i, s := range c.core.Sessions() {
		c.calls[i].Via = wire.Peer(i)
		c.tasks = append(c.tasks, s.Task.(*task))
	}
	c.b.ReportAllocs()
	c.b.ResetTimer()
}

// Tick implements zmqio.Handler. Who has found the loop about to sleep has answered
// by himself, and is followed here.
func (c *benchCallers) Tick(now time.Time) {
	c.node.Tick(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.calls {
		if !slices.Contains(c.answers, i) && c.tasks[i].current == nil {
			c.answers = append(c.answers, i)
			c.done++
		}
	}
}

// Left implements zmqio.Gatherer: the loop does not sleep.
func (c *benchCallers) Left() bool { return true }

// Gather implements zmqio.Gatherer.
func (c *benchCallers) Gather() {
	if t := c.left.Swap(nil); t != nil {
		c.Begin()
		c.tellEnded(t, &c.fx)
		for _, o := range c.fx.Outs {
			_, via, _ := wire.RouteOf(o.Env)
			c.answers = append(c.answers, int(via))
			c.done++
		}
		c.fx.Outs = c.fx.Outs[:0] // nobody is there to send them to
		c.End()
	}
	if c.done >= c.b.N {
		c.b.StopTimer()
		c.stop()
		return
	}
	c.Begin()
	for _, i := range c.answers {
		c.Envelope(1, c.next(&c.calls[i]))
	}
	c.End()
	c.answers = c.answers[:0]
}

// next is one more call, in memory as a frame has it.
func (c *benchCallers) next(h *wire.Header) []byte {
	const body, size = 64, 256
	if len(c.frame)+size > cap(c.frame) {
		c.frame = make([]byte, 0, 32<<10)
	}
	h.Number, h.Ack, h.Flags = h.Number+1, h.Number, wire.FlagRaw
	at := len(c.frame)
	c.frame = wire.AppendCall(c.frame, h, "echo", make([]byte, body))
	binary.BigEndian.PutUint64(c.frame[len(c.frame)-body:], h.Number)
	return c.frame[at:len(c.frame):len(c.frame)]
}
