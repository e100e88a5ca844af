package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// herd is one node's pool "herd", which answers broadcasts.
type herd struct {
	name  string
	pool  *worker.Pool[*int]
	began chan string   // the method, from each run that waits
	gate  chan struct{} // closed: those that wait go on
	runs  atomic.Int64
}

func newHerd(name string, options ...func(*worker.Config[*int])) *herd {
	h := &herd{name: name, began: make(chan string, 1000), gate: make(chan struct{})}
	c := worker.Config[*int]{
		Pool: "herd", Slots: 4, Budget: -1,
		Open: func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	}
	for _, o := range options {
		o(&c)
	}
	h.pool = worker.NewPool(c)
	worker.HandleCast(h.pool, "who", func(context.Context, any) (string, error) { h.runs.Add(1); return h.name, nil })
	worker.HandleCast(h.pool, "fail", func(context.Context, any) (string, error) { return "", errors.New("as told") })
	worker.HandleCast(h.pool, "panic", func(context.Context, any) (string, error) { panic("as told") })
	worker.HandleCast(h.pool, "hang", func(context.Context, any) (string, error) { h.loiter(); return h.name, nil })
	worker.HandleCast(h.pool, "large", func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil })
	worker.HandleCast(h.pool, "unless", h.unless)                                        // waits on the node that is named
	worker.HandleCast(h.pool, "stroll", func(ctx context.Context, ms int) (int, error) { // progress all the while
		beats := 0
		for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); beats++ {
			time.Sleep(50 * time.Millisecond)
			if err := worker.Progress(ctx, beats); err != nil {
				return beats, err
			}
		}
		return beats, nil
	})
	worker.Handle(h.pool, "add", func(_ context.Context, total *int, n int) (int, error) { *total += n; return *total, nil })
	worker.Handle(h.pool, "wait", func(ctx context.Context, total *int, _ any) (int, error) {
		h.began <- "wait"
		select {
		case <-h.gate:
			return *total, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	worker.Handle(h.pool, "hang", func(_ context.Context, total *int, _ any) (int, error) { h.loiter(); return *total, nil })
	return h
}

//go:noinline
func (h *herd) loiter() { <-h.gate }

func (h *herd) unless(ctx context.Context, name string) (string, error) {
	h.runs.Add(1)
	if name != h.name && name != "*" {
		return h.name, nil
	}
	h.began <- h.name
	select {
	case <-h.gate:
		return h.name, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// herdRole is a node of a herd in a process of its own.
func herdRole(ctx context.Context) error {
	h := newHerd(os.Getenv("NAME"))
	go func() {
		for what := range h.began {
			fmt.Println("began", what)
		}
	}()
	return worker.Serve(ctx, worker.Options{
		Broker: os.Getenv("BROKER"), Name: h.name, Beat: millis("BEAT"), Misses: setting("MISSES"), Records: os.Getenv("RECORDS"), Logger: quiet(),
	}, h.pool)
}

// prompt is a broker that waits for no node to come back: it has just begun.
func prompt() broker.Options { return broker.Options{Recovery: time.Millisecond} }

// herds starts nodes in this process, named n1, n2 and so on.
func herds(t *testing.T, c *cell, n int, options ...func(*worker.Config[*int])) []*herd {
	t.Helper()
	var all []*herd
	for i := range n {
		h := newHerd(fmt.Sprint("n", i+1), options...)
		c.serve(t, worker.Options{Name: h.name}, h.pool)
		all = append(all, h)
	}
	return all
}

// herdProcesses starts nodes in processes of their own.
func herdProcesses(t *testing.T, c *cell, n int, env ...string) []*child {
	t.Helper()
	var all []*child
	for i := range n {
		all = append(all, start(t, "herd", append([]string{"BROKER=" + c.url, fmt.Sprint("NAME=n", i+1)}, env...)...))
	}
	eventually(t, "all nodes are registered", func() bool { return c.nodes(t) == n })
	return all
}

// gathered is what a broadcast came to, by the names of the nodes.
type gathered struct {
	fates  map[string]session.Fate
	errors map[string]error
	sum    client.Complete
}

func gather[R any](t *testing.T, k *client.Cast[R]) gathered {
	t.Helper()
	g := gathered{fates: map[string]session.Fate{}, errors: map[string]error{}}
	ended := make(chan error, 1)
	go func() {
		for a, err := range k.Answers() {
			name := a.Name
			if a.Session != (session.ID{}) {
				name = a.Session.String()
			}
			if old, twice := g.fates[name]; twice {
				ended <- fmt.Errorf("%s is told twice: %s, %s", name, old, a.Fate)
				return
			}
			g.fates[name], g.errors[name] = a.Fate, err
		}
		var err error
		g.sum, err = k.Wait()
		ended <- err
	}()
	if err := await(t, ended, "the end of the broadcast"); err != nil {
		t.Fatal(err)
	}
	if len(g.fates) != g.sum.Members {
		t.Fatalf("%d members are told, it is complete with %+v", len(g.fates), g.sum)
	}
	return g
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	t.Cleanup(cancel)
	return ctx
}

// Five nodes answer a broadcast, each once, and nobody but the issuer hears of
// it.
func TestBroadcastReachesEveryNode(t *testing.T) {
	c := newCell(t, prompt())
	all := herds(t, c, 5)
	cl, other := c.dial(t), c.dial(t)
	k := client.Broadcast[string](bounded(t), cl, "herd", "who", nil)
	seen := 0
	for a, err := range k.Answers() {
		if err != nil || a.Fate != session.FateAnswered || a.Value != a.Name || a.Node == 0 {
			t.Errorf("%+v, %v", a, err)
		}
		seen++
	}
	sum, err := k.Wait()
	if want := (client.Complete{Members: 5, Answered: 5}); err != nil || sum != want || seen != 5 || !sum.All() {
		t.Errorf("%d answers, complete with %+v, %v", seen, sum, err)
	}
	for _, h := range all {
		if n := h.runs.Load(); n != 1 {
			t.Errorf("%s ran it %d times", h.name, n)
		}
	}
	if g := gather(t, client.Broadcast[string](bounded(t), other, "herd", "who", nil)); g.sum.Answered != 5 {
		t.Errorf("the other client's own: %+v", g.sum)
	}
	if n := c.status(t).Counts.Broadcasts; n != 2 {
		t.Errorf("status counts %d broadcasts", n)
	}
}

// A pool that nobody serves has no members: complete, zero members.
func TestBroadcastToEmptyPool(t *testing.T) {
	c := newCell(t, prompt())
	if sum, err := client.Broadcast[string](bounded(t), c.dial(t), "herd", "who", nil).Wait(); err != nil || sum != (client.Complete{}) || !sum.All() {
		t.Errorf("%+v, %v", sum, err)
	}
}

// What a method fails with is its member's own; nobody else notices.
func TestBroadcastFails(t *testing.T) {
	c := newCell(t, prompt())
	herds(t, c, 2)
	cl := c.dial(t)
	for method, want := range map[string]struct {
		code session.Code
		text string
	}{
		"fail": {session.ErrMethod, "as told"}, "panic": {session.ErrWorkerPanic, "as told"}, "none": {session.ErrMethodUnknown, "HandleCast"},
	} {
		g := gather(t, client.Broadcast[string](bounded(t), cl, "herd", method, nil))
		if g.sum != (client.Complete{Members: 2, Failed: 2}) || !errors.Is(g.errors["n1"], want.code) || !strings.Contains(g.errors["n1"].Error(), want.text) {
			t.Errorf("%s: %+v, %v", method, g.sum, g.errors["n1"])
		}
	}
	g := gather(t, client.Broadcast[string](bounded(t), cl, "herd", "unless", 7))
	if !errors.Is(g.errors["n2"], session.ErrBadArgument) {
		t.Errorf("an argument of another type: %v", g.errors["n2"])
	}
	if g := gather(t, client.Broadcast[string](bounded(t), cl, "herd", "who", nil)); !g.sum.All() {
		t.Errorf("afterwards: %+v", g.sum)
	}
}

// One of six is killed during the call: five answers, one died, and that at once:
// its beats would be missed after two minutes.
func TestBroadcastMemberIsKilled(t *testing.T) {
	for _, test := range []struct{ name, records string }{{"by its start record", ""}, {"by its connection", "RECORDS=off"}} {
		t.Run(test.name, func(t *testing.T) {
			o := prompt()
			o.Beat = quickBeat
			if test.records != "" {
				o.Records = "off"
			}
			c := newCell(t, o)
			all := herdProcesses(t, c, 6, "BEAT=20000", "MISSES=5", test.records)
			k := client.Broadcast[string](bounded(t), c.dial(t), "herd", "unless", "n6")
			all[5].says("began")
			all[5].kill()
			g := gather(t, k)
			want := client.Complete{Members: 6, Answered: 5, Died: 1}
			if g.sum != want || g.fates["n6"] != session.FateDied || !errors.Is(g.errors["n6"], session.ErrWorkerLost) {
				t.Errorf("%+v, n6: %v", g.sum, g.errors["n6"])
			}
		})
	}
}

// One that is stopped is hung once its beats are missed; the others have
// answered.
func TestBroadcastMemberIsStopped(t *testing.T) {
	c := newCell(t, prompt())
	all := herdProcesses(t, c, 4, quick...)
	k := client.Broadcast[string](bounded(t), c.dial(t), "herd", "unless", "n4")
	all[3].says("began")
	all[3].signal(syscall.SIGSTOP)
	g := gather(t, k)
	if g.sum != (client.Complete{Members: 4, Answered: 3, Hung: 1}) || !errors.Is(g.errors["n4"], session.ErrWorkerHung) {
		t.Errorf("%+v, n4: %v", g.sum, g.errors["n4"])
	}
}

// A slow member that makes progress is awaited beyond its budget; one that makes
// none hangs, with the stack where it does.
func TestBroadcastBudget(t *testing.T) {
	c := newCell(t, prompt())
	const budget = 1500 * time.Millisecond
	h := newHerd("n1")
	h.pool.Budget("hang", 500*time.Millisecond)
	h.pool.Budget("stroll", budget)
	c.serve(t, worker.Options{Name: h.name}, h.pool)
	cl := c.dial(t)
	if g := gather(t, client.Broadcast[int](bounded(t), cl, "herd", "stroll", 2*budget.Milliseconds())); g.sum != (client.Complete{Members: 1, Answered: 1}) {
		t.Errorf("with progress: %+v, %v", g.sum, g.errors)
	}
	g := gather(t, client.Broadcast[string](bounded(t), cl, "herd", "hang", nil))
	e, _ := errors.AsType[*session.Error](g.errors["n1"])
	if g.sum != (client.Complete{Members: 1, Hung: 1}) || e == nil || e.Code != session.ErrWorkerHung || !strings.Contains(e.Stack, "loiter") {
		t.Errorf("without: %+v, %v", g.sum, g.errors)
	}
	if g := gather(t, client.Broadcast[string](bounded(t), cl, "herd", "who", nil)); !g.sum.All() {
		t.Errorf("beside it: %+v", g.sum)
	}
	close(h.gate)
}

// Who joins during the call is not mixed in; who leaves has left.
func TestBroadcastMembersComeAndGo(t *testing.T) {
	c := newCell(t, prompt())
	stays, goes := newHerd("stays"), newHerd("goes")
	c.serve(t, worker.Options{Name: stays.name}, stays.pool)
	stop := c.serve(t, worker.Options{Name: goes.name}, goes.pool)
	k := client.Broadcast[string](bounded(t), c.dial(t), "herd", "unless", "*")
	await(t, stays.began, "its run")
	await(t, goes.began, "its run")
	joins := newHerd("joins")
	c.serve(t, worker.Options{Name: joins.name}, joins.pool)
	stop()
	close(stays.gate)
	g := gather(t, k)
	if g.sum != (client.Complete{Members: 2, Answered: 1, Left: 1}) || g.fates["goes"] != session.FateLeft || joins.runs.Load() != 0 {
		t.Errorf("%+v, the newcomer ran it %d times", g, joins.runs.Load())
	}
}

// The context's deadline settles those that are left; its cancellation, and a
// reader that goes, end it: contexts of handlers are cancelled, and nothing is
// left over.
func TestBroadcastEndsEarly(t *testing.T) {
	c := newCell(t, prompt())
	all := herds(t, c, 3)
	cl := c.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // in which two of them answer
	defer cancel()
	if g := gather(t, client.Broadcast[string](ctx, cl, "herd", "unless", "n3")); g.sum != (client.Complete{Members: 3, Answered: 2, Deadline: 1}) {
		t.Errorf("at its deadline: %+v", g.sum)
	}
	await(t, all[2].began, "its run")

	ctx, cancel = context.WithCancel(bounded(t))
	k := client.Broadcast[string](ctx, cl, "herd", "unless", "*")
	for _, h := range all {
		await(t, h.began, "its run")
	}
	cancel()
	if _, err := k.Wait(); !errors.Is(err, client.ErrCancelled) {
		t.Errorf("cancelled: %v", err)
	}

	k = client.Broadcast[string](bounded(t), cl, "herd", "unless", "n1")
	await(t, all[0].began, "its run")
	for _, err := range k.Answers() {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if sum, err := k.Wait(); !errors.Is(err, client.ErrCancelled) || sum.Answered == 0 {
		t.Errorf("stopped: %+v, %v", sum, err)
	}
	eventually(t, "the broker has forgotten it", func() bool { return c.status(t).Broadcasts == 0 })
}

// A reader that does not read holds the broker's answers back, and gets all of
// them when it does.
func TestBroadcastWithSlowReader(t *testing.T) {
	c := newCell(t, prompt())
	herds(t, c, 4)
	k := client.Broadcast[[]byte](bounded(t), c.dial(t), "herd", "large", 1<<20)
	eventually(t, "the broker keeps answers", func() bool { return c.status(t).Broadcasts == 1 })
	got := 0
	for a, err := range k.Answers() {
		if err != nil || len(a.Value) != 1<<20 {
			t.Fatalf("%d bytes, %v", len(a.Value), err)
		}
		got++
	}
	if sum, err := k.Wait(); err != nil || got != 4 || sum.Answered != 4 {
		t.Errorf("%d answers, %+v, %v", got, sum, err)
	}
	eventually(t, "the broker has forgotten it", func() bool { return c.status(t).Broadcasts == 0 })
}

// In every open session: with its state, between its calls, and the numbers of
// the calls do not change.
func TestBroadcastToSessions(t *testing.T) {
	for _, test := range []struct {
		name  string
		lanes int
	}{{"a goroutine each", 0}, {"on one lane", 1}} {
		t.Run(test.name, func(t *testing.T) {
			c := newCell(t, prompt())
			all := herds(t, c, 2, func(c *worker.Config[*int]) { c.Lanes = test.lanes })
			cl := c.dial(t)
			var sessions []*client.Session
			for i := range 5 {
				s := open(t, cl, "herd")
				mustCall[int](t, s, "add", i)
				sessions = append(sessions, s)
			}
			total := 0
			k := client.Broadcast[int](bounded(t), cl, "herd", "add", 100, client.InSessions())
			for a, err := range k.Answers() {
				if err != nil {
					t.Error(err)
				}
				total += a.Value
			}
			if sum, err := k.Wait(); err != nil || sum != (client.Complete{Members: 5, Answered: 5}) || total != 510 {
				t.Errorf("%+v, total %d, %v", sum, total, err)
			}
			for i, s := range sessions {
				if n := mustCall[int](t, s, "add", 0); n != 100+i {
					t.Errorf("session %d counts to %d", i, n)
				}
			}

			busy := sessions[0].Go(bounded(t), "wait", nil)
			var at *herd
			select {
			case <-all[0].began:
				at = all[0]
			case <-all[1].began:
				at = all[1]
			case <-time.After(long):
				t.Fatal("its call does not begin")
			}
			id := sessions[0].ID().String()
			g := gather(t, client.Broadcast[int](bounded(t), cl, "herd", "add", 1, client.InSessions(), client.WithBusyWait(-1)))
			if g.sum.Members != 5 || g.fates[id] != session.FateBusy {
				t.Errorf("not waited for: %+v", g)
			}
			g = gather(t, client.Broadcast[int](bounded(t), cl, "herd", "add", 1, client.InSessions(), client.WithBusyWait(50*time.Millisecond)))
			if g.sum.Members != 5 || g.fates[id] != session.FateBusy {
				t.Errorf("waited for 50 ms: %+v", g)
			}
			k = client.Broadcast[int](bounded(t), cl, "herd", "add", 1, client.InSessions())
			for a, err := range k.Answers() {
				if err != nil || a.Session == sessions[0].ID() {
					t.Errorf("beside the busy one: %+v, %v", a, err)
				}
				break
			}
			k = client.Broadcast[int](bounded(t), cl, "herd", "add", 1, client.InSessions())
			eventually(t, "it is under way", func() bool { return c.status(t).Broadcasts == 1 })
			close(at.gate)
			if g := gather(t, k); !g.sum.All() {
				t.Errorf("waited for: %+v", g)
			}
			if err := busy.Wait(nil); err != nil {
				t.Errorf("the call that it waited for: %v", err)
			}
		})
	}
}

// A session that ends before its turn has left, and one that hangs is hung, and
// ends as by a call.
func TestBroadcastEndsSessions(t *testing.T) {
	c := newCell(t, prompt())
	h := newHerd("n1")
	h.pool.Budget("hang", 500*time.Millisecond)
	c.serve(t, worker.Options{Name: h.name}, h.pool)
	cl := c.dial(t)
	s, hangs := open(t, cl, "herd"), open(t, cl, "herd")
	mustCall[int](t, s, "add", 1)
	mustCall[int](t, hangs, "add", 1)
	k := client.Broadcast[int](bounded(t), cl, "herd", "hang", nil, client.InSessions())
	g := gather(t, k)
	if g.sum != (client.Complete{Members: 2, Hung: 2}) {
		t.Errorf("%+v, %v", g.sum, g.errors)
	}
	for _, s := range []*client.Session{s, hangs} {
		eventually(t, "the session has ended", func() bool { return errors.Is(s.Err(), client.ErrWorkerHung) })
	}
	close(h.gate)

	patient := newHerd("patient", func(c *worker.Config[*int]) { c.Pool = "patient" })
	c.serve(t, worker.Options{Name: "patient"}, patient.pool)
	s = open(t, cl, "patient")
	busy := s.Go(bounded(t), "wait", nil)
	await(t, patient.began, "its call")
	k = client.Broadcast[int](bounded(t), cl, "patient", "add", 1, client.InSessions())
	eventually(t, "it is under way", func() bool { return c.status(t).Broadcasts == 1 })
	closeSession(t, s)
	if g := gather(t, k); g.sum != (client.Complete{Members: 1, Left: 1}) {
		t.Errorf("%+v, %v", g.sum, g.errors)
	}
	_ = busy.Wait(nil)
}

// A broker dies during the call. The next one asks the nodes, which have kept
// their answers: complete for the same members, and nobody runs it twice.
func TestBroadcastOutlivesItsBroker(t *testing.T) {
	noLeaks(t)
	url := freePort(t)
	env := append([]string{"LISTEN=" + url, "RECOVERY=3000"}, quick...)
	first := start(t, "broker", env...)
	first.says("listens")
	var all []*herd
	for i := range 3 {
		h := newHerd(fmt.Sprint("n", i+1))
		run(t, func(ctx context.Context) error {
			return worker.Serve(ctx, worker.Options{Broker: url, Name: h.name, Beat: quickBeat, Misses: quickMisses, Logger: quiet()}, h.pool)
		})
		all = append(all, h)
	}
	eventually(t, "all are registered", func() bool { return len(first.report().Status.Nodes) == 3 })
	k := client.Broadcast[string](bounded(t), dial(t, url, client.WithBeat(quickBeat, quickMisses)), "herd", "unless", "n3")
	await(t, all[2].began, "its run")
	first.kill()
	second := start(t, "broker", env...)
	second.says("listens")
	eventually(t, "all are back", func() bool { return len(second.report().Status.Nodes) == 3 })
	close(all[2].gate)
	if g := gather(t, k); g.sum != (client.Complete{Members: 3, Answered: 3}) {
		t.Errorf("%+v, %v", g.sum, g.errors)
	}
	for _, h := range all {
		if n := h.runs.Load(); n != 1 {
			t.Errorf("%s ran it %d times", h.name, n)
		}
	}
}

// One goroutine reads the answers while another waits for the end: he takes none
// of them.
func TestBroadcastIsReadAndAwaited(t *testing.T) {
	c := newCell(t, prompt())
	herds(t, c, 4)
	cl := c.dial(t)
	for range 20 {
		k := client.Broadcast[string](bounded(t), cl, "herd", "who", nil)
		answers := k.Answers()
		sums := make(chan client.Complete, 1)
		go func() { sum, _ := k.Wait(); sums <- sum }()
		read := 0
		for _, err := range answers {
			if read++; err != nil {
				t.Error(err)
			}
		}
		if sum := await(t, sums, "the end"); sum.Members != 4 || read != 4 {
			t.Fatalf("of %d members %d answers were read", sum.Members, read)
		}
	}
}
