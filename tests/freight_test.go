package tests

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// flood is what has passed a proxy's connections both ways.
func (p *proxy) flood() (bytes []int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.passed {
		bytes = append(bytes, c.near.Load()+c.far.Load())
	}
	return bytes
}

// grown is by how much each has grown since.
func (p *proxy) grown(since []int64) []int64 {
	now := p.flood()
	for i := range since {
		now[i] -= since[i]
	}
	return now
}

// What travels as chunks goes by a connection of its own on every stretch of its way,
// and nothing else does.
func TestFreightHasItsOwnConnection(t *testing.T) {
	c := newCell(t, broker.Options{})
	through := func(endpoint string) *proxy { return newProxy(t, strings.TrimPrefix(endpoint, "tcp://")) }
	fromNode, fromClient := through(c.url), through(c.url)
	at := freePort(t)
	straight := through(at)
	c.serve(t, worker.Options{Broker: "tcp://" + fromNode.at, Direct: at, Advertise: "tcp://" + straight.at}, streams("a", 2))

	for what, test := range map[string]struct {
		open func(t *testing.T) *client.Session
		ways []*proxy
	}{
		"direct": {func(t *testing.T) *client.Session {
			t.Helper()
			s := open(t, c.dial(t), "a")
			direct(t, s)
			return s
		}, []*proxy{straight}},
		"relayed": {func(t *testing.T) *client.Session {
			t.Helper()
			return open(t, dial(t, "tcp://"+fromClient.at, client.WithRelayOnly()), "a")
		}, []*proxy{fromClient, fromNode}},
	} {
		t.Run(what, func(t *testing.T) {
			s := test.open(t)
			read := func() {
				t.Helper()
				r, err := s.Stream(t.Context(), "read", int64(large))
				if err != nil {
					t.Fatal(err)
				}
				wantNoise(t, "the reply", r, large)
			}
			write := func() {
				t.Helper()
				if _, err := client.Call[tide](t.Context(), s, "sum", noise(1, large)); err != nil {
					t.Fatal(err)
				}
			}
			small := func() {
				t.Helper()
				for range 100 {
					var b []byte
					if err := s.Call(t.Context(), "bytes", int64(100), &b); err != nil {
						t.Fatal(err)
					}
				}
			}
			eventually(t, "there are two connections, and freight goes by the second", func() bool {
				for _, way := range test.ways {
					before := way.flood()
					read()
					if got := way.grown(before); len(before) != 2 || got[1] < large {
						return false
					}
				}
				return true
			})
			for what, do := range map[string]struct {
				do   func()
				most int // the connection by which it goes
				size int64
			}{"a large reply": {read, 1, large}, "a large argument": {write, 1, large}, "small calls": {small, 0, 100 * 100}} {
				before := make([][]int64, len(test.ways))
				for i, way := range test.ways {
					before[i] = way.flood()
				}
				do.do()
				for i, way := range test.ways {
					got := way.grown(before[i])
					if len(got) != 2 || got[do.most] < do.size || got[1-do.most] > do.size/10 {
						t.Errorf("%s, stretch %d: %d bytes have passed the connections, want %d by number %d of 2", what, i, got, do.size, do.most)
					}
				}
			}
		})
	}
}

// Where nobody lets a second connection pass, freight goes by the first, also between
// a stretch that has one and a stretch that has none.
func TestFreightWithoutAConnection(t *testing.T) {
	c := newCell(t, broker.Options{})
	narrow := newNarrow(t, strings.TrimPrefix(c.url, "tcp://"), 1)
	c.serve(t, worker.Options{Broker: "tcp://" + narrow.at}, streams("a", 1))
	wide := newProxy(t, strings.TrimPrefix(c.url, "tcp://"))
	s := open(t, dial(t, "tcp://"+wide.at, client.WithRelayOnly()), "a")
	eventually(t, "the near stretch has a connection for it", func() bool {
		r, err := s.Stream(t.Context(), "back", noise(1, large))
		if err != nil {
			t.Fatal(err)
		}
		wantNoise(t, "what came back", r, large)
		got := wide.flood()
		return len(got) == 2 && got[1] > large
	})
	if got := narrow.flood(); len(got) != 1 || got[0] < 2*large {
		t.Errorf("%d bytes have passed the far stretch's connections", got)
	}
}

// cutLast breaks the connection that came last.
func (p *proxy) cutLast() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns[len(p.conns)-2:] {
		_ = c.(*net.TCPConn).SetLinger(0) // what is under way is lost
		_ = c.Close()
	}
}

// after calls then once, when so many bytes have been read.
type after struct {
	io.Reader

	left int64
	then func()
}

func (a *after) Read(b []byte) (int, error) {
	n, err := a.Reader.Read(b)
	if was := a.left; was > 0 {
		if a.left -= int64(n); a.left <= 0 {
			a.then()
		}
	}
	return n, err
}

// A connection for freight that breaks in the middle of a chunk takes nothing along:
// what was on it is sent again by the other, and comes once.
func TestFreightConnectionBreaks(t *testing.T) {
	c := newCell(t, broker.Options{})
	at := freePort(t)
	straight := newProxy(t, strings.TrimPrefix(at, "tcp://"))
	c.serve(t, worker.Options{Direct: at, Advertise: "tcp://" + straight.at}, streams("a", 2))
	way := newProxy(t, strings.TrimPrefix(c.url, "tcp://"))
	for _, path := range []string{"direct", "relayed"} {
		for _, cuts := range []string{"reply", "argument"} {
			t.Run(path+" "+cuts, func(t *testing.T) {
				var s *client.Session
				var by *proxy
				if path == "direct" {
					s, by = open(t, c.dial(t), "a"), straight
					direct(t, s)
				} else {
					s, by = open(t, dial(t, "tcp://"+way.at, client.WithRelayOnly()), "a"), way
				}
				known := len(by.flood())
				eventually(t, "there is a connection for freight", func() bool {
					r, err := s.Stream(t.Context(), "back", noise(1, large))
					if err != nil {
						t.Fatal(err)
					}
					wantNoise(t, "what came back", r, large)
					got := by.flood()
					return len(got) > max(known, 1) && got[len(got)-1] > large
				})
				arg := noise(1, 2*large)
				if cuts == "argument" {
					arg = &after{arg, large, by.cutLast}
				}
				r, err := s.Stream(t.Context(), "back", arg)
				if err != nil {
					t.Fatal(err)
				}
				var reply io.Reader = r
				if cuts == "reply" {
					reply = &after{r, large, by.cutLast}
				}
				wantNoise(t, "what came back meanwhile", reply, 2*large)
			})
		}
	}
}
