package tests

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// bystander calls in a session of its own all the while, and counts: one call
// lost, run twice or answered wrongly would show. The check at the test's end
// wants its session to have lived on.
func bystander(t *testing.T, cl *client.Client, pool string) (s *client.Session) {
	t.Helper()
	s = open(t, cl, pool)
	stop, ended := make(chan struct{}), make(chan struct{})
	n := 0
	go func() {
		defer close(ended)
		for ; !stopped(stop); n++ {
			ctx, cancel := context.WithTimeout(context.Background(), long)
			got, err := client.Call[int](ctx, s, "add", 1)
			cancel()
			if err != nil || got != n+1 {
				t.Errorf("the bystander's call %d: %d, %v", n+1, got, err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-ended
		if n == 0 {
			t.Error("the bystander made no call")
		}
	})
	return s
}

// badIn counts what a broker has found wrong so far.
func (c *cell) badIn(t testing.TB) (n uint64) {
	t.Helper()
	for bad := range maps.Values(c.status(t).Counts.Bad) {
		n += bad
	}
	return n
}

// malformed are messages that no version of the protocol knows, by what they
// are; each is answered with this code.
func malformed() map[string]struct {
	frames [][]byte
	want   session.Code
} {
	type m = struct {
		frames [][]byte
		want   session.Code
	}
	noise := make([]byte, 3000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	hello := control(&wire.Hello{Min: 1, Max: 1, Role: wire.RoleClient, ID: uuid.New()})
	otherFrame := frame(hello)
	otherFrame[3] = 99
	one := func(b []byte, want session.Code) m { return m{[][]byte{b}, want} }
	env := func(e []byte, want session.Code) m { return one(frame(e), want) }
	pack := func(kind wire.Kind, body string) []byte { return append([]byte{byte(kind)}, body...) }
	return map[string]m{
		"random bytes":              one(noise, session.ErrBadMessage),
		"random bytes in a frame":   env(append([]byte{200}, noise...), session.ErrKindUnknown),
		"http":                      one([]byte("GET / HTTP/1.1\r\n\r\n"), session.ErrBadMessage),
		"no envelope":               one(wire.AppendHead(nil), session.ErrBadMessage),
		"empty envelope":            one(append(wire.AppendHead(nil), 0, 0, 0, 0), session.ErrBadMessage),
		"envelope that is cut":      one(append(wire.AppendHead(nil), 0, 0, 1, 0, 1, 2, 3), session.ErrBadMessage),
		"length of 4 GiB":           one(append(wire.AppendHead(nil), 255, 255, 255, 255, 1), session.ErrBadMessage),
		"other frame version":       one(otherFrame, session.ErrVersion),
		"two bodies":                {[][]byte{frame(hello), frame(hello)}, session.ErrBadMessage},
		"thousand frames":           {slicesOf([]byte("x"), 1000), session.ErrBadMessage},
		"kind 0":                    env([]byte{0}, session.ErrKindUnknown),
		"kind 99":                   env(pack(99, "\x80"), session.ErrKindUnknown),
		"hello without a body":      env([]byte{byte(wire.KindHello)}, session.ErrBadMessage),
		"hello that is an array":    env(pack(wire.KindHello, "\x93\x01\x02\x03"), session.ErrBadMessage),
		"hello that is cut":         env(hello[:len(hello)-3], session.ErrBadMessage),
		"hello and more":            env(append(bytes.Clone(hello), 0xc0), session.ErrBadMessage),
		"map of 4 billion":          env(pack(wire.KindOpen, "\xdf\xff\xff\xff\xff"), session.ErrBadMessage),
		"string of 4 GiB":           env(pack(wire.KindOpen, "\x81\xa4pool\xdb\xff\xff\xff\xff"), session.ErrBadMessage),
		"pool that is a number":     env(pack(wire.KindOpen, "\x81\xa4pool\x07"), session.ErrBadMessage),
		"field without a name":      env(pack(wire.KindRegister, "\x81\xa5pools\x91\x81\xa0\xc1"), session.ErrBadMessage),
		"client that is short":      env(pack(wire.KindOpen, "\x81\xa6client\xc4\x02ab"), session.ErrBadMessage),
		"deep nesting":              env(pack(wire.KindOpen, "\x81\xa1x"+strings.Repeat("\x91", 100_000)), session.ErrBadMessage),
		"hello of a stranger role":  env(control(&wire.Hello{Min: 1, Max: 1, Role: "pirate", ID: uuid.New()}), session.ErrBadMessage),
		"hello without an id":       env(control(&wire.Hello{Min: 1, Max: 1, Role: wire.RoleClient}), session.ErrBadMessage),
		"hello of no version":       env(control(&wire.Hello{Min: 3, Max: 2, Role: wire.RoleClient, ID: uuid.New()}), session.ErrBadMessage),
		"hello of later versions":   env(control(&wire.Hello{Min: 200, Max: 201, Role: wire.RoleClient, ID: uuid.New()}), session.ErrVersion),
		"open of a huge pool name":  env(control(&wire.Open{Client: uuid.New(), Request: uuid.New(), Pool: strings.Repeat("x", 1000)}), session.ErrBadMessage),
		"open without a request":    env(control(&wire.Open{Client: uuid.New(), Pool: "tally"}), session.ErrBadMessage),
		"register of minus 1 slots": env(control(register(1, "x", -1)), session.ErrBadMessage),
		"register of no node":       env(control(register(0, "x", 1)), session.ErrBadMessage),
		"call that is short":        env(pack(wire.KindCall, "short"), session.ErrBadMessage),
		"close that is short":       env(pack(wire.KindClose, ""), session.ErrBadMessage),
		"reply that is short":       env(pack(wire.KindReply, "x"), session.ErrBadMessage),
		"reply of nobody's":         env(sessionMessage(wire.Header{Kind: wire.KindReply, Via: 1, Session: uuid.New()}), session.ErrBadMessage),
		"welcome from outside":      env(control(&wire.Welcome{Version: 1, Broker: uuid.New()}), session.ErrKindUnknown),
		"opened from outside":       env(control(&wire.Opened{Request: uuid.New(), Session: uuid.New(), Node: 1, Pool: "tally"}), session.ErrKindUnknown),
		"refused from outside":      env(control(&wire.Refused{Request: uuid.New(), Code: session.ErrOverloaded}), session.ErrKindUnknown),
		"queued from outside":       env(control(&wire.Queued{Request: uuid.New(), Place: 1}), session.ErrKindUnknown),
		"lost from outside":         env(control(&wire.Lost{Node: 1, Code: session.ErrWorkerLost}), session.ErrKindUnknown),
		"offer from outside":        env(control(&wire.Offer{Client: uuid.New(), Request: uuid.New(), Pool: "tally"}), session.ErrKindUnknown),
		"revoke from outside":       env(control(&wire.Revoke{Client: uuid.New(), Request: uuid.New(), Code: session.ErrWithdrawn}), session.ErrKindUnknown),
		"registered from outside":   env(control(&wire.Registered{}), session.ErrKindUnknown),
		"identify from outside":     env(control(&wire.Identify{Broker: uuid.New()}), session.ErrKindUnknown),
	}
}

func slicesOf(b []byte, n int) (all [][]byte) {
	for range n {
		all = append(all, b)
	}
	return all
}

func register(node session.NodeID, pool string, slots int) *wire.Register {
	return &wire.Register{Node: node, Name: "forged", Pools: []wire.Pool{{Name: pool, Slots: slots}}}
}

// Whatever a stranger says to a broker is answered with a code where somebody
// is there to be answered, and counted; the stranger is served as soon as it
// behaves, and nobody else notices.
func TestMalformedToTheBroker(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	c.serve(t, worker.Options{}, newTally("tally", 3).pool)
	bystander(t, c.dial(t), "tally")
	nodes := c.nodes(t)
	for name, m := range malformed() {
		t.Run(name, func(t *testing.T) {
			s := connectStranger(t, c.url)
			before := c.badIn(t)
			for range 2 {
				s.send(m.frames...)
				if e := hearControl[*wire.Error](s); e.Code != m.want || e.Text == "" {
					t.Errorf("answered %v, %q; want %v", e.Code, e.Text, m.want)
				}
			}
			if n := c.badIn(t); n < before+2 {
				t.Errorf("%d were counted, want 2", n-before)
			}
			o := s.openRaw("tally")
			h := holderOf(o)
			h.Kind, h.Number = wire.KindClose, 1
			s.send(frame(sessionMessage(h)))
			s.hearHeader(wire.KindClosed)
		})
	}
	if n := c.nodes(t); n != nodes {
		t.Errorf("%d nodes are known, want %d", n, nodes)
	}
	eventually(t, "only the bystander's slot is taken", func() bool { return c.pool(t, "tally").Free == 2 })
}

// A stranger that pretends to be a node, or another node, or another client.
func TestForgeriesToTheBroker(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	y := newTally("tally", 2)
	c.serve(t, worker.Options{}, y.pool)
	cl := c.dial(t)
	r := bystander(t, cl, "tally").Route()
	idle := open(t, cl, "tally")
	mustCall[int](t, idle, "add", 1)
	live := wire.Live{
		Client: uuid.New(), Request: uuid.New(), Pool: "tally", Session: idle.ID(), Key: session.Key{1}, Epoch: 1, Incarnation: 1,
	}

	s := connectStranger(t, c.url)
	t.Run("claims of one that is no node", func(t *testing.T) {
		for _, m := range []wire.Control{
			&wire.Accept{Seq: 1, Live: live},
			&wire.Decline{Seq: 1, Client: live.Client, Request: live.Request, Pool: "tally", Code: session.ErrOverloaded},
			&wire.Ended{Seq: 1, Session: r.Session, Pool: "tally", Code: session.ErrSessionClosed},
		} {
			before := c.badIn(t)
			s.tell(m)
			hearControl[*wire.Identify](s)
			if n := c.badIn(t); n != before+1 {
				t.Errorf("%s: %d counted, want 1", m.Kind(), n-before)
			}
		}
		for _, k := range []wire.Kind{wire.KindReply, wire.KindFail, wire.KindExpired, wire.KindClosed, wire.KindLeased, wire.KindHeld} {
			for via := range wire.Peer(5) {
				h := wire.Header{Kind: k, Via: via, Node: r.Node, Session: r.Session, Epoch: r.Epoch, Number: uint64(via), Code: session.ErrSessionExpired}
				s.send(frame(sessionMessage(h, 1)))
				if e := hearControl[*wire.Error](s); e.Code != session.ErrBadMessage {
					t.Errorf("%s: answered %v, want bad message", k, e.Code)
				}
			}
		}
	})
	t.Run("another's node id", func(t *testing.T) {
		s := connectStranger(t, c.url)
		for range 3 {
			s.tell(register(r.Node, "tally", 100))
			if e := hearControl[*wire.Error](s); e.Of != wire.KindRegister {
				t.Errorf("answered %v of %v, want an error of the register", e.Code, e.Of)
			}
		}
		if st := c.status(t); len(st.Nodes) != 1 || st.Nodes[0].Name == "forged" || st.Nodes[0].Slots != 2 || len(st.Sessions) != 2 {
			t.Errorf("status shows %+v with %d sessions", st.Nodes, len(st.Sessions))
		}
	})
	t.Run("two nodes on one connection", func(t *testing.T) {
		s := connectStranger(t, c.url)
		s.tell(register(1, "forged", 1))
		hearControl[*wire.Registered](s)
		for id := range session.NodeID(20) {
			s.tell(register(id+2, "forged", 1))
			hearControl[*wire.Error](s)
		}
		if n := c.nodes(t); n != 2 {
			t.Errorf("%d nodes are known, want 2", n)
		}
		// A registered node speaks for itself only.
		s.tell(&wire.Ended{Seq: 1, Session: r.Session, Pool: "tally", Code: session.ErrSessionClosed})
		s.tell(&wire.Accept{Seq: 2, Live: live})
		h := wire.Header{Kind: wire.KindExpired, Via: 1, Node: r.Node, Session: idle.ID(), Epoch: 1, Code: session.ErrSessionExpired}
		s.send(frame(sessionMessage(h)))
		if e := hearControl[*wire.Error](s); e.Code != session.ErrBadMessage {
			t.Errorf("a message for another node: answered %v, want bad message", e.Code)
		}
	})
	t.Run("another's open", func(t *testing.T) {
		waiting, thief := connectStranger(t, c.url), connectStranger(t, c.url)
		open := &wire.Open{Client: uuid.New(), Request: uuid.New(), Pool: "tally", Notify: true}
		waiting.tell(open)
		hearControl[*wire.Queued](waiting)
		thief.tell(&wire.Withdraw{Client: open.Client, Request: open.Request})
		if e := hearControl[*wire.Error](thief); e.Of != wire.KindWithdraw || e.Request != open.Request {
			t.Errorf("answered %v of %v, want an error of the withdraw", e.Code, e.Of)
		}
		if p := c.pool(t, "tally"); p.Waiting != 1 {
			t.Errorf("%d wait, want 1", p.Waiting)
		}
		waiting.tell(&wire.Withdraw{Client: open.Client, Request: open.Request})
		if got := hearControl[*wire.Refused](waiting); got.Code != session.ErrWithdrawn {
			t.Errorf("its own withdraw: %v", got.Code)
		}
	})
	if n := mustCall[int](t, idle, "add", 1); n != 2 {
		t.Errorf("the idle session counts to %d, want 2", n)
	}
	if err := idle.Err(); err != nil {
		t.Errorf("the idle session ended with %v", err)
	}
}

// linesOf counts log lines that warn, by their peer.
type linesOf struct {
	slog.Handler
	mu    sync.Mutex
	peers map[string]int
}

func (l *linesOf) Enabled(context.Context, slog.Level) bool { return true }

func (l *linesOf) Handle(_ context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "peer" {
			l.mu.Lock()
			l.peers[a.Value.String()]++
			l.mu.Unlock()
		}
		return true
	})
	return nil
}

// However fast a peer says what is wrong, the log says so once a second.
func TestLogOfMalformed(t *testing.T) {
	lines := &linesOf{peers: map[string]int{}}
	c := newCell(t, broker.Options{Recovery: 1, Logger: slog.New(lines)})
	began := time.Now()
	const peers, messages = 3, 500
	for range peers {
		s := connectStranger(t, c.url)
		for range messages {
			s.send(frame([]byte{99}))
			hearControl[*wire.Error](s)
		}
	}
	most := int(time.Since(began)/time.Second) + 1
	if n := c.badIn(t); n != peers*messages {
		t.Errorf("%d counted, want %d", n, peers*messages)
	}
	lines.mu.Lock()
	defer lines.mu.Unlock()
	if len(lines.peers) != peers {
		t.Errorf("lines about %d peers, want %d", len(lines.peers), peers)
	}
	for peer, n := range lines.peers {
		if n > most {
			t.Errorf("%d lines about peer %s in %d s", n, peer, most)
		}
	}
}

// Strangers at the TCP port, endless messages and thousands of connections:
// they cost the broker neither its memory nor its descriptors.
func TestStrangersCostNothing(t *testing.T) {
	noLeaks(t)
	b, url := brokerProcess(t, "tcp://127.0.0.1:*", "RECOVERY=1")
	y := newTally("tally", 2)
	run(t, func(ctx context.Context) error {
		return worker.Serve(ctx, worker.Options{Broker: url, Logger: quiet()}, y.pool)
	})
	eventually(t, "the node is registered", func() bool { return len(b.report().Status.Nodes) == 1 })
	bystander(t, dial(t, url), "tally")
	descriptors := len(mustReadDir(t, b.pid(), "fd"))

	for _, said := range []string{
		"GET / HTTP/1.1\r\nHost: limpet\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 500), // a TLS hello
		strings.Repeat("\xde\xad\xbe\xef", 50_000),
		"",
	} {
		c := connectTCP(t, url)
		_, _ = c.Write([]byte(said))
		_ = c.Close()
	}
	for range 2000 {
		c := connectTCP(t, url)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 { // whole handshakes, and a Hello each
		s := connectStranger(t, url)
		s.tell(&wire.Hello{Min: 1, Max: 1, Role: wire.RoleClient, ID: uuid.New()})
		hearControl[*wire.Welcome](s)
		if err := s.socket.Close(); err != nil {
			t.Fatal(err)
		}
	}
	huge := connectStranger(t, url)
	huge.send(bytes.Repeat([]byte{'x'}, wire.MaxFrame+1))
	endless := connectTCP(t, url) // 64 MiB of one message that does not end
	defer endless.Close()
	_, _ = endless.Write(zmtp.AppendReady(zmtp.Greeting(), zmtp.Dealer))
	part := append([]byte{3, 0, 0, 0, 0, 0, 0x10, 0, 0}, bytes.Repeat([]byte{'x'}, 1<<20)...)
	for range 64 {
		if _, err := endless.Write(part); err != nil {
			break
		}
	}
	many := connectStranger(t, url)
	for range 2000 { // a client that opens and never listens
		many.tell(&wire.Open{Client: uuid.New(), Request: uuid.New(), Pool: "nope"})
	}
	good := connectStranger(t, url)
	o := good.openRaw("tally")
	if o.Session == uuid.Nil {
		t.Error("no session")
	}
	eventually(t, "its memory is bounded", func() bool { return resident(t, b.pid()) < 300<<20 })
	eventually(t, "its descriptors are given back", func() bool { return len(mustReadDir(t, b.pid(), "fd")) < descriptors+20 })
	eventually(t, "the huge frame and the message without an end were cut, and counted", func() bool {
		return b.report().Bad[session.ErrBadMessage] == 2
	})
}

func mustReadDir(t testing.TB, pid int, what string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, what))
	if err != nil {
		t.Skip("no /proc to look into: ", err)
	}
	return entries
}

// resident is a process's resident memory in bytes.
func resident(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("no /proc to look into: ", err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
