package sim

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	broker "github.com/limpet-rpc/limpet/broker/core"
	client "github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	worker "github.com/limpet-rpc/limpet/worker/core"
)

// BenchmarkSession is what a session of one call costs the three cores
// together, without sockets and goroutines: in three trips, and in one.
func BenchmarkSession(b *testing.B) {
	for _, trips := range []struct {
		name string
		once bool
	}{{"three", false}, {"one", true}} {
		b.Run(trips.name, func(b *testing.B) {
			c := newCircle()
			c.open(b) // others have sessions there too
			b.ReportAllocs()
			for range b.N {
				if trips.once {
					c.one(b)
				} else {
					c.three(b)
				}
				c.pass()
			}
		})
	}
}

// Who is whose peer in a circle: the broker is the same to both others.
const (
	circleBroker wire.Peer = 1 + iota
	circleClient
	circleNode
)

// circle is a client, a broker and a node that hand each other their messages.
type circle struct {
	now      time.Time
	client   *client.Core
	clientFx client.Effects
	broker   *broker.Core
	brokerFx broker.Effects
	node     *worker.Core
	nodeFx   worker.Effects

	post    []letter
	memory  []byte // of the letters: who gets one may keep it
	results []client.Result
	calls   []worker.Run
	over    []*worker.Session // stopped, and not closed yet
}

type letter struct {
	from, to wire.Peer
	env      []byte
}

func newCircle() *circle {
	chance := rand.NewChaCha8([32]byte{1})
	c := &circle{now: time.Now()}
	c.client = client.New(client.Config{ID: uuid.UUID{15: 1}, Name: "c", Relay: true}, chance)
	c.broker = broker.New(c.now, broker.Config{ID: uuid.UUID{15: 2}, Name: "b"})
	c.node = worker.New(c.now, worker.Config{Node: 7, Name: "n", Pools: []worker.Pool{{Name: "pool", Slots: 128, Bare: true}}}, chance)
	c.node.AddBroker(c.now, circleBroker, &c.nodeFx)
	c.client.AddBroker(c.now, circleBroker, &c.clientFx)
	c.collect()
	c.deliver()
	return c
}

// three opens a session, calls and closes it.
func (c *circle) three(b *testing.B) {
	s := c.open(b)
	if refused := c.client.Call(c.now, s, &client.Ask{Method: "echo", Args: circleArgs, Raw: true, Tag: c}, &c.clientFx); refused != nil {
		b.Fatal(refused)
	}
	c.end(b)
	c.client.Close(c.now, s, c, &c.clientFx)
	c.end(b)
}

func (c *circle) open(b *testing.B) *client.Session {
	if _, refused := c.client.Open(c.now, client.Wish{Pool: "pool"}, c, &c.clientFx); refused != nil {
		b.Fatal(refused)
	}
	return c.end(b).Session
}

// one has the call carried by the open.
func (c *circle) one(b *testing.B) {
	first := &client.First{Method: "echo", Args: circleArgs, Raw: true, Tag: c}
	if _, refused := c.client.Open(c.now, client.Wish{Pool: "pool", First: first, Once: true}, nil, &c.clientFx); refused != nil {
		b.Fatal(refused)
	}
	c.end(b)
}

var circleArgs = make([]byte, 64)

// end is that of what has been asked for.
func (c *circle) end(b *testing.B) client.Result {
	c.collect()
	c.deliver()
	if len(c.results) != 1 || c.results[0].Err != nil {
		b.Fatalf("%d results, %+v", len(c.results), c.results)
	}
	r := c.results[0]
	clear(c.results)
	c.results = c.results[:0]
	return r
}

// pass lets a little time pass.
func (c *circle) pass() {
	if c.now = c.now.Add(20 * time.Microsecond); c.now.UnixNano()/int64(20*time.Microsecond)%1000 != 0 {
		return
	}
	c.client.Tick(c.now, &c.clientFx)
	c.broker.Tick(c.now, &c.brokerFx)
	c.node.Tick(c.now, &c.nodeFx)
	c.collect()
	c.deliver()
}

// deliver hands over what is on the way, and has calls echoed, until nothing is.
func (c *circle) deliver() {
	for len(c.post)+len(c.calls)+len(c.over) > 0 {
		for next := 0; next != len(c.post); next++ {
			switch l := c.post[next]; l.to {
			case circleBroker:
				c.broker.Step(c.now, l.from, l.env, &c.brokerFx)
			case circleClient:
				c.client.Step(c.now, circleBroker, l.env, &c.clientFx)
			case circleNode:
				c.node.Step(c.now, circleBroker, l.env, &c.nodeFx)
			}
			c.collect()
		}
		clear(c.post)
		c.post = c.post[:0]
		c.work()
	}
}

// work ends the calls that run, and closes the sessions that have been stopped.
func (c *circle) work() {
	for i, r := range c.calls {
		c.calls[i] = worker.Run{}
		c.node.Done(c.now, r.Session, r.Call.Number, &session.Reply{Raw: true, Body: append([]byte(nil), r.Call.Args...)}, &c.nodeFx)
	}
	c.calls = c.calls[:0]
	c.collect()
	for i, s := range c.over {
		c.over[i] = nil
		c.node.Closed(c.now, s, &c.nodeFx)
	}
	c.over = c.over[:0]
	c.collect()
}

// collect takes what the cores have asked for.
func (c *circle) collect() {
	for _, o := range c.clientFx.Outs {
		c.send(circleClient, circleBroker, o.Env)
	}
	c.results = append(c.results, c.clientFx.Results...)
	c.clientFx.Reset()
	for _, o := range c.brokerFx.Outs {
		c.send(circleBroker, o.To, o.Env)
	}
	c.brokerFx.Reset()
	for _, o := range c.nodeFx.Outs {
		c.send(circleNode, circleBroker, o.Env)
	}
	c.calls = append(c.calls, c.nodeFx.Run...)
	for _, s := range c.nodeFx.Stop {
		if !s.Over {
			c.over = append(c.over, s.Session)
		}
	}
	c.nodeFx.Reset()
}

func (c *circle) send(from, to wire.Peer, env []byte) {
	if len(c.memory)+len(env) > cap(c.memory) {
		c.memory = make([]byte, 0, 64<<10)
	}
	start := len(c.memory)
	c.memory = append(c.memory, env...)
	c.post = append(c.post, letter{from, to, c.memory[start:len(c.memory):len(c.memory)]})
}
