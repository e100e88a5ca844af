package tests

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// quick beats let a dead node be found soon, after quickLimit; slow enough that a
// busy machine does not make a live one look dead.
const (
	quickBeat   = 200 * time.Millisecond
	quickMisses = 15
	quickLimit  = quickBeat * quickMisses
)

var quick = []string{fmt.Sprint("BEAT=", quickBeat.Milliseconds()), fmt.Sprint("MISSES=", quickMisses)}

// nodeProcess starts a node of its own process with slots in the pool "tally"
// and the label node=name, and returns its id.
func nodeProcess(t *testing.T, c *cell, name string, slots int, env ...string) (*child, string) {
	t.Helper()
	p := start(t, "node", append(append([]string{"BROKER=" + c.url, "NAME=" + name, fmt.Sprint("SLOTS=", slots)}, quick...), env...)...)
	var id string
	eventually(t, "node "+name+" is registered", func() bool {
		for _, n := range c.status(t).Nodes {
			if n.Name == name {
				id = n.Node
			}
		}
		return id != ""
	})
	return p, id
}

func on(node string) client.OpenOption { return client.WithLabels(map[string]string{"node": node}) }

// blocked is a call that is in flight until its worker is gone.
type blocked struct {
	session *client.Session
	ended   chan error
}

// block begins a call that does not end, and waits until its handler runs.
func block(t *testing.T, node *child, s *client.Session) blocked {
	t.Helper()
	b := blocked{s, make(chan error, 1)}
	go func() { b.ended <- s.Call(context.Background(), "block", s.ID().String(), nil) }()
	if got := node.says("began"); got != s.ID().String() {
		t.Fatalf("%s began, want %s", got, s.ID())
	}
	return b
}

// isLost checks that a session and a call in it ended as a lost worker's do.
func isLost(t *testing.T, s *client.Session) {
	t.Helper()
	eventually(t, "the session has ended", func() bool { return s.Err() != nil })
	if !errors.Is(s.Err(), session.ErrWorkerLost) {
		t.Errorf("session %s ended with %v, want worker lost", s.ID(), s.Err())
	}
	if _, err := call[int](t, s, "add", 1); !errors.Is(err, session.ErrWorkerLost) || !errors.Is(err, session.NotRun) {
		t.Errorf("a call afterwards: %v, want worker lost, not run", err)
	}
}

// kill -9 of a node: its calls in flight and its idle sessions end with
// ErrWorkerLost, the other node's sessions notice nothing, status shows it,
// and an open that was on its way to the dead node goes to the other one.
func TestNodeIsKilled(t *testing.T) {
	c := newCell(t, broker.Options{})
	dead, deadID := nodeProcess(t, c, "dead", 4)
	_, _ = nodeProcess(t, c, "other", 2)
	cl := c.dial(t, client.WithRelayOnly())
	var calls []blocked
	var idle, others []*client.Session
	for range 2 {
		idle = append(idle, open(t, cl, "tally", on("dead")))
		others = append(others, open(t, cl, "tally", on("other")))
	}
	busy := open(t, cl, "tally", on("dead"))
	calls = append(calls, block(t, dead, busy))
	behind := make(chan error, 1) // a second call, which waits behind the first
	go func() { behind <- busy.Call(context.Background(), "add", 1, nil) }()
	mustCall[int](t, idle[0], "add", 1)

	dead.kill()
	onItsWay := openLater(t.Context(), cl, "tally") // the dead node has the only free slot
	for i := range 100 {
		for _, s := range others {
			if n := mustCall[int](t, s, "add", 1); n != i+1 {
				t.Fatalf("a session of the other node counts to %d, want %d", n, i+1)
			}
		}
	}
	for _, b := range calls {
		if err := await(t, b.ended, "the end of a call in flight"); !errors.Is(err, session.ErrWorkerLost) || !errors.Is(err, session.Unknown) {
			t.Errorf("a call in flight ended with %v, want worker lost, unknown", err)
		}
	}
	if err := await(t, behind, "the end of the call behind it"); !errors.Is(err, session.ErrWorkerLost) {
		t.Errorf("the call behind it ended with %v, want worker lost", err)
	}
	for _, s := range append(idle, busy) {
		isLost(t, s)
	}
	st := c.status(t)
	if len(st.Nodes) != 1 || st.Nodes[0].Name != "other" || st.Counts.NodesLost != 1 ||
		len(st.Lost) != 1 || st.Lost[0].Node != deadID || st.Lost[0].Sessions != 3 {
		t.Errorf("status shows nodes %+v, lost %+v", st.Nodes, st.Lost)
	}
	await(t, onItsWay.queued, "a place for the open that was on its way")
	closeSession(t, others[0])
	o := await(t, onItsWay.done, "the open that was on its way")
	if o.err != nil || o.session.Route().NodeName != "other" {
		t.Fatalf("it ended with %v", o.err)
	}
	if n := mustCall[int](t, others[1], "add", 1); n != 101 {
		t.Errorf("the other node's session counts to %d, want 101", n)
	}
}

// kill -STOP of a node ends its sessions for their clients just so; after
// -CONT it gives up its old sessions by itself, and all its slots serve again.
func TestNodeIsStoppedAndContinued(t *testing.T) {
	c := newCell(t, broker.Options{})
	const slots = 3
	still, id := nodeProcess(t, c, "still", slots)
	_, _ = nodeProcess(t, c, "other", 1)
	cl := c.dial(t, client.WithRelayOnly())
	idle, busy, other := open(t, cl, "tally", on("still")), open(t, cl, "tally", on("still")), open(t, cl, "tally", on("other"))
	mustCall[int](t, idle, "add", 1)
	b := block(t, still, busy)

	still.signal(syscall.SIGSTOP)
	if err := await(t, b.ended, "the end of the call in flight"); !errors.Is(err, session.ErrWorkerLost) || !errors.Is(err, session.Unknown) {
		t.Errorf("the call in flight ended with %v, want worker lost, unknown", err)
	}
	isLost(t, idle)
	isLost(t, busy)
	mustCall[int](t, other, "add", 1)
	eventually(t, "status shows it as lost", func() bool {
		st := c.status(t)
		return len(st.Lost) == 1 && st.Lost[0].Node == id
	})

	still.signal(syscall.SIGCONT)
	for range 2 { // both of its sessions, also the one whose handler ran
		still.says("closed")
	}
	eventually(t, "it is back without sessions", func() bool {
		for _, n := range c.status(t).Nodes {
			if n.Name == "still" {
				return n.Open == 0 && n.Offered == 0
			}
		}
		return false
	})
	for range 2 { // more sessions than slots: a leak would show
		var all []*client.Session
		for range slots {
			s := open(t, cl, "tally", on("still"))
			if n := mustCall[int](t, s, "add", 1); n != 1 {
				t.Errorf("a fresh session counts to %d, want 1", n)
			}
			all = append(all, s)
		}
		for _, s := range all {
			closeSession(t, s)
		}
	}
	isLost(t, idle)
	if n := mustCall[int](t, other, "add", 1); n != 2 {
		t.Errorf("the other node's session counts to %d, want 2", n)
	}
}

// short lets a client's session end soon after the client.
func short(c *worker.Config[*counted]) { c.Lease = 3 * time.Second }

// A client that is killed loses its session within the lease, also while a
// call of it runs: the next in the queue gets the slot.
func TestClientIsKilled(t *testing.T) {
	for _, test := range []struct{ name, call string }{{"idle", ""}, {"calling", "CALL=1"}} {
		t.Run(test.name, func(t *testing.T) {
			c := newCell(t, broker.Options{})
			y := newTally("tally", 1, short)
			c.serve(t, worker.Options{}, y.pool)
			holder := start(t, "client", "BROKER="+c.url, test.call)
			holder.says("opened")
			if test.call != "" {
				await(t, y.began, "its call")
			}
			next := openLater(t.Context(), c.dial(t, client.WithRelayOnly()), "tally")
			await(t, next.queued, "a place")
			holder.kill()
			o := await(t, next.done, "the slot")
			if o.err != nil {
				t.Fatal(o.err)
			}
			if why := await(t, y.closes, "the end of the old session"); !errors.Is(why, session.ErrSessionExpired) || !contains(why.Error(), session.ClockLease) {
				t.Errorf("it was closed because %v, want expired, by its lease", why)
			}
			if n := mustCall[int](t, o.session, "add", 1); n != 1 {
				t.Errorf("the new session counts to %d, want 1", n)
			}
		})
	}
}

// A client that is killed while it waits loses its place, and nobody keeps a
// slot for it.
func TestWaitingClientIsKilled(t *testing.T) {
	c := newCell(t, broker.Options{Lease: 3 * time.Second})
	y := newTally("tally", 1)
	c.serve(t, worker.Options{}, y.pool)
	cl := c.dial(t, client.WithRelayOnly())
	held := open(t, cl, "tally")
	waiting := start(t, "client", "BROKER="+c.url)
	waiting.says("queued")
	second := openLater(t.Context(), cl, "tally")
	if place := await(t, second.queued, "the second place"); place != 2 {
		t.Errorf("place %d, want 2", place)
	}
	waiting.kill()
	eventually(t, "its place is gone", func() bool {
		q := c.status(t).Queue
		return len(q) == 1 && q[0].Place == 1
	})
	closeSession(t, held)
	o := await(t, second.done, "the slot")
	if o.err != nil {
		t.Fatal(o.err)
	}
	closeSession(t, o.session)
	if n := y.opens.Load(); n != 2 {
		t.Errorf("%d sessions were opened, want 2: none for the dead client", n)
	}
	eventually(t, "the slot is free", func() bool { return c.pool(t, "tally").Free == 1 })
}

// brokerProcess starts a broker as a process of its own.
func brokerProcess(t testing.TB, listen string, env ...string) (*child, string) {
	t.Helper()
	b := start(t, "broker", append(env, "LISTEN="+listen)...)
	return b, b.says("listens")
}

// kill -9 of the broker, which is started anew on its port, while sessions
// call: no session ends, every call is answered, and every call runs once.
func TestBrokerIsKilledAndComesBack(t *testing.T) {
	noLeaks(t)
	b, url := brokerProcess(t, "tcp://127.0.0.1:*", quick...)
	const sessions = 4
	y := newTally("tally", sessions+1)
	run(t, func(ctx context.Context) error {
		return worker.Serve(ctx, worker.Options{Broker: url, Beat: quickBeat, Misses: quickMisses, Logger: quiet()}, y.pool)
	})
	cl := dial(t, url, client.WithRelayOnly(), client.WithBeat(quickBeat, quickMisses))
	idle := open(t, cl, "tally")
	mustCall[int](t, idle, "add", 41)

	stop := make(chan struct{})
	counted := make([]int, sessions)
	var all, going sync.WaitGroup
	going.Add(sessions)
	for i := range sessions {
		s := open(t, cl, "tally")
		all.Go(func() {
			underWay := sync.OnceFunc(going.Done)
			defer underWay()
			for counted[i] < 100 || !stopped(stop) {
				n, err := client.Call[int](t.Context(), s, "add", 1)
				if err != nil || n != counted[i]+1 {
					t.Errorf("call %d of session %s: %d, %v", counted[i]+1, s.ID(), n, err)
					return
				}
				if counted[i]++; counted[i] == 100 {
					underWay()
				}
			}
		})
	}
	going.Wait() // all of them are in the middle of it
	b.kill()
	b, again := brokerProcess(t, url, quick...)
	if again != url {
		t.Fatalf("it listens at %s, want %s", again, url)
	}
	eventually(t, "the node has brought its sessions", func() bool { return len(b.report().Status.Sessions) == sessions+1 })
	if n := mustCall[int](t, idle, "add", 1); n != 42 {
		t.Errorf("the idle session counts to %d, want 42", n)
	}
	close(stop)
	all.Wait()
	total := int64(2)
	for _, n := range counted {
		total += int64(n)
	}
	if ran := y.ran.Load(); ran != total {
		t.Errorf("%d calls ran, %d were answered", ran, total)
	}
	closeSession(t, idle)
	s := open(t, cl, "tally") // the new broker assigns as the old one did
	if n := mustCall[int](t, s, "add", 1); n != 1 {
		t.Errorf("a fresh session counts to %d, want 1", n)
	}
}

func stopped(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A node and its broker die together: the sessions end as lost as soon as the
// broker that comes back has waited for the node in vain, idle ones too.
func TestBrokerAndNodeAreKilled(t *testing.T) {
	noLeaks(t)
	b, url := brokerProcess(t, "tcp://127.0.0.1:*", quick...)
	node := start(t, "node", append(quick, "BROKER="+url, "NAME=n", "SLOTS=2", "LEASE=3000")...)
	cl := dial(t, url, client.WithRelayOnly(), client.WithBeat(quickBeat, quickMisses))
	idle, busy := open(t, cl, "tally"), open(t, cl, "tally")
	ended := block(t, node, busy)
	node.kill()
	b.kill()
	brokerProcess(t, url, append(quick, "RECOVERY=500")...)
	if err := await(t, ended.ended, "the end of the call in flight"); !errors.Is(err, session.ErrWorkerLost) || !errors.Is(err, session.Unknown) {
		t.Errorf("the call in flight ended with %v, want worker lost, unknown", err)
	}
	isLost(t, busy)
	isLost(t, idle)
}

// Without any broker an open ends when its context does, and Dial says where
// it looked.
func TestNoBroker(t *testing.T) {
	noLeaks(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := client.Dial(ctx, "tcp://127.0.0.1:1", client.WithLogger(quiet()))
	if !errors.Is(err, session.ErrUnreachable) || !contains(err.Error(), "tcp://127.0.0.1:1") {
		t.Errorf("dial: %v, want unreachable, with the endpoint", err)
	}
	if _, err := client.Dial(t.Context(), "nonsense", client.WithLogger(quiet())); err == nil || !contains(err.Error(), "nonsense") {
		t.Errorf("dial nonsense: %v", err)
	}
	b, url := brokerProcess(t, "tcp://127.0.0.1:*")
	cl := dial(t, url, client.WithRelayOnly())
	b.kill()
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := cl.Open(ctx, "tally"); !errors.Is(err, session.ErrDeadline) || !errors.Is(err, session.NotRun) {
		t.Errorf("open without a broker: %v, want deadline, not run", err)
	}
}

// A port that is in use is named.
func TestPortInUse(t *testing.T) {
	c := newCell(t, broker.Options{})
	_, err := broker.New(broker.Options{Listen: c.url, Logger: quiet()})
	if err == nil || !contains(err.Error(), c.url) || !contains(err.Error(), "in use") {
		t.Errorf("second broker at %s: %v", c.url, err)
	}
}
