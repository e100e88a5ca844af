package tests

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// stage is a pool of a pipeline. Its handlers have names for what they do.
type stage struct {
	pool   *worker.Pool[struct{}]
	runs   atomic.Int64 // of all its methods
	began  chan string
	ended  chan error // of block
	finish chan struct{}
}

// job is what travels through the pipelines of these tests.
type job struct {
	N    int    `json:"n"`
	To   string `json:"to"` // a pool
	Path string `json:"path"`
}

func newStage(name string, slots int) *stage {
	s := &stage{
		pool:  worker.NewPool(worker.Config[struct{}]{Pool: name, Slots: slots}),
		began: make(chan string, 1000), ended: make(chan error, 1000), finish: make(chan struct{}),
	}
	method := func(method string, f func(ctx context.Context, j job) (job, error)) {
		worker.Handle(s.pool, method, func(ctx context.Context, _ struct{}, j job) (job, error) {
			s.runs.Add(1)
			j.Path += name + "." + method + " "
			return f(ctx, j)
		})
	}
	method("end", func(_ context.Context, j job) (job, error) { return j, nil })
	method("on", func(_ context.Context, j job) (job, error) { // N steps over there and back, then the end
		if j.N == 0 {
			return j, nil
		}
		next := job{N: j.N - 1, To: name, Path: j.Path}
		return job{}, worker.Next(j.To, "on", next)
	})
	method("round", func(_ context.Context, j job) (job, error) { return job{}, worker.Next(name, "round", job{}) })
	method("fail", func(context.Context, job) (job, error) { return job{}, errors.New("as told") })
	method("empty", func(context.Context, job) (job, error) { return job{}, worker.Next("", "on", j0) })
	method("odd", func(context.Context, job) (job, error) { return job{}, worker.Next(name, "end", func() {}) })
	method("unnamed", func(context.Context, job) (job, error) {
		return job{}, worker.Fan(worker.Branch{Pool: name, Method: "end", Arg: j0})
	})
	method("steps", func(ctx context.Context, j job) (job, error) {
		for i := range j.N {
			if err := worker.Progress(ctx, j.To+fmt.Sprint(i)); err != nil {
				return job{}, err
			}
		}
		if j.To == "" {
			return j, nil
		}
		return job{}, worker.Next(j.To, "steps", job{N: j.N})
	})
	method("block", func(ctx context.Context, _ job) (job, error) {
		s.began <- name
		select {
		case <-ctx.Done():
		case <-s.finish:
		}
		s.ended <- ctx.Err()
		return job{}, ctx.Err()
	})
	method("to-block", func(_ context.Context, j job) (job, error) { return job{}, worker.Next(j.To, "block", j0) })
	method("many", func(_ context.Context, j job) (job, error) { // N levels, ten branches each
		if j.N == 0 {
			return j, nil
		}
		var all []worker.Branch
		for i := range 10 {
			all = append(all, worker.Branch{Name: fmt.Sprint(i), Pool: name, Method: "many", Arg: job{N: j.N - 1}})
		}
		return job{}, worker.Fan(all...)
	})
	worker.Handle(s.pool, "raw", func(_ context.Context, _ struct{}, b []byte) ([]byte, error) { return append(b, '!'), nil })
	worker.Handle(s.pool, "split", func(_ context.Context, _ struct{}, methods map[string]string) (any, error) {
		var all []worker.Branch
		for branch, method := range methods {
			all = append(all, worker.Branch{Name: branch, Pool: name, Method: method, Arg: job{N: len(branch)}})
		}
		all = append(all, worker.Branch{Name: "bytes", Pool: name, Method: "raw", Arg: []byte("hey")})
		return nil, worker.Fan(all...)
	})
	worker.Handle(s.pool, "split-join", func(context.Context, struct{}, any) (any, error) {
		return nil, worker.Fan(
			worker.Branch{Name: "left", Pool: name, Method: "on", Arg: job{N: 2, To: name}},
			worker.Branch{Name: "right", Pool: name, Method: "end", Arg: job{N: 7}},
		).Join(name, "join")
	})
	worker.Handle(s.pool, "split-fail-join", func(context.Context, struct{}, any) (any, error) {
		return nil, worker.Fan(
			worker.Branch{Name: "good", Pool: name, Method: "end", Arg: j0},
			worker.Branch{Name: "bad", Pool: name, Method: "fail", Arg: j0},
		).Join(name, "block")
	})
	worker.Handle(s.pool, "join", func(_ context.Context, _ struct{}, all map[string]job) (string, error) {
		return fmt.Sprintf("left %d by %sright %d", all["left"].N, all["left"].Path, all["right"].N), nil
	})
	return s
}

var j0 job

// pipeline is a cell with two stages, a and b.
func pipeline(t *testing.T, o broker.Options) (c *cell, a, b *stage) {
	t.Helper()
	c = newCell(t, o)
	a, b = newStage("a", 4), newStage("b", 4)
	c.serve(t, worker.Options{}, a.pool, b.pool)
	return c, a, b
}

// What a handler goes on with is walked to the end, whichever way the call was
// made: over pools that are chosen as it goes, and back.
func TestCallsGoOnFromPoolToPool(t *testing.T) {
	c, a, b := pipeline(t, broker.Options{})
	cl := c.dial(t)
	s := open(t, cl, "a")
	ask := job{N: 3, To: "b"}
	want := job{To: "a", Path: "a.on b.on a.on b.on "}
	ways := map[string]func() (job, error){
		"Do":   func() (job, error) { return client.Do[job](t.Context(), cl, "a", "on", ask) },
		"Call": func() (job, error) { return client.Call[job](t.Context(), s, "on", ask) },
		"Session.Go": func() (j job, err error) {
			err = s.Go(t.Context(), "on", ask).Wait(&j)
			return j, err
		},
		"Client.Go": func() (j job, err error) {
			err = cl.Go(t.Context(), "a", "on", ask).Wait(&j)
			return j, err
		},
		"OpenCall": func() (j job, err error) {
			s, err := cl.OpenCall(t.Context(), "a", "on", ask, &j)
			if s != nil {
				closeSession(t, s)
			}
			return j, err
		},
	}
	for name, way := range ways {
		if got, err := way(); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if a.runs.Load() != int64(2*len(ways)) || b.runs.Load() != int64(2*len(ways)) {
		t.Errorf("a ran %d times and b %d, want %d each", a.runs.Load(), b.runs.Load(), 2*len(ways))
	}
	if got, err := client.Do[job](t.Context(), cl, "a", "on", job{To: "b"}); err != nil || got.Path != "a.on " {
		t.Errorf("an early finish: %+v, %v", got, err)
	}
	closeSession(t, s)
	eventually(t, "all slots are free", func() bool { return c.pool(t, "a").Free == 4 && c.pool(t, "b").Free == 4 })
}

func TestBranchesAreJoinedByName(t *testing.T) {
	c, _, _ := pipeline(t, broker.Options{})
	cl := c.dial(t)
	got, err := client.Do[map[string]any](t.Context(), cl, "a", "split", map[string]string{"x": "end", "longer": "end"})
	if err != nil || len(got) != 3 || got["bytes"] != "hey!" || got["longer"].(map[string]any)["n"] != int64(6) {
		t.Errorf("%v, %v", got, err)
	}
	text, err := client.Do[string](t.Context(), cl, "a", "split-join", 0)
	if err != nil || text != "left 0 by a.on a.on a.on right 7" {
		t.Errorf("%q, %v", text, err)
	}
}

// A branch that fails is named, and the others are told to stop.
func TestBranchThatFails(t *testing.T) {
	c, a, _ := pipeline(t, broker.Options{})
	_, err := client.Do[any](t.Context(), c.dial(t), "a", "split", map[string]string{"bad": "fail", "slow": "block"})
	stage, ok := errors.AsType[*client.StageError](err)
	if !ok || stage.Branch != "bad" || stage.Method != "fail" || stage.Hop != 1 || !errors.Is(err, client.ErrMethod) || !contains(err.Error(), `branch "bad"`) {
		t.Errorf("%v", err)
	}
	eventually(t, "all slots are free", func() bool { return c.pool(t, "a").Free == 4 })
	select {
	case <-a.began: // it was cancelled before it began, or is told
		if err := await(t, a.ended, "the other branch ends"); !errors.Is(err, context.Canceled) {
			t.Errorf("the other branch ended with %v", err)
		}
	default:
	}
}

// Where a branch fails there is nothing to join: the step that would do so does
// not run.
func TestJoinWhereOneBranchFails(t *testing.T) {
	c, a, _ := pipeline(t, broker.Options{})
	_, err := client.Do[any](t.Context(), c.dial(t), "a", "split-fail-join", j0)
	stage, ok := errors.AsType[*client.StageError](err)
	if !ok || stage.Branch != "bad" || stage.Method != "fail" || !errors.Is(err, client.ErrMethod) || !contains(err.Error(), "as told") {
		t.Errorf("%v", err)
	}
	eventually(t, "all slots are free", func() bool { return c.pool(t, "a").Free == 4 })
	if len(a.began) > 0 {
		t.Error("what joins them has begun")
	}
}

func TestCycleWithoutEnd(t *testing.T) {
	c, a, _ := pipeline(t, broker.Options{})
	cl := c.dial(t)
	for hops, opts := range map[int][]client.OpenOption{
		client.DefaultHops: nil, 5: {client.WithCall(client.WithHops(5))}, 0: {client.WithCall(client.WithHops(0))},
	} {
		a.runs.Store(0)
		_, err := client.Do[job](t.Context(), cl, "a", "round", j0, opts...)
		if !errors.Is(err, client.ErrHops) || errors.Is(err, client.ErrNotRun) || !contains(err.Error(), "a.round > a.round") ||
			!contains(err.Error(), fmt.Sprintf("at most %d", hops)) {
			t.Errorf("%d hops: %v", hops, err)
		}
		if n := a.runs.Load(); n != int64(hops+1) {
			t.Errorf("%d hops: it ran %d times", hops, n)
		}
		if len(err.Error()) > 400 {
			t.Errorf("the error is long: %v", err)
		}
	}
	if got, err := client.Do[job](t.Context(), cl, "a", "on", job{N: 100, To: "b"}, client.WithCall(client.WithHops(100))); err != nil || got.N != 0 {
		t.Errorf("a hundred steps: %+v, %v", got, err)
	}
}

// Branches of branches are bounded as well.
func TestBranchesWithoutEnd(t *testing.T) {
	c, a, _ := pipeline(t, broker.Options{Queue: 10_000})
	_, err := client.Do[any](t.Context(), c.dial(t), "a", "many", job{N: 30})
	if !errors.Is(err, client.ErrHops) || !contains(err.Error(), "on all paths, at most 4096") {
		t.Errorf("%v", err)
	}
	if n := a.runs.Load(); n > 4097 {
		t.Errorf("%d steps ran", n)
	}
}

func TestStepToWhatIsNotThere(t *testing.T) {
	c, _, _ := pipeline(t, broker.Options{Recovery: 1})
	cl := c.dial(t)
	_, err := client.Do[job](t.Context(), cl, "a", "on", job{N: 1, To: "nowhere"})
	stage, ok := errors.AsType[*client.StageError](err)
	if !ok || stage.Pool != "nowhere" || stage.Path != "a.on > nowhere.on" || stage.Outcome != session.NotRun ||
		!errors.Is(err, client.ErrPoolUnknown) || errors.Is(err, client.ErrNotRun) || errors.Is(err, client.ErrUnknown) {
		t.Errorf("%+v: %v", stage, err)
	}
	for method, text := range map[string]string{
		"empty": "pool is empty", "odd": "encode the argument of a.end", "unnamed": "has no name",
	} {
		if _, err := client.Do[job](t.Context(), cl, "a", method, j0); !errors.Is(err, client.ErrMethod) || !contains(err.Error(), text) {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// One deadline and one cancellation hold for all steps.
func TestStepsEndWithTheirCall(t *testing.T) {
	c, _, b := pipeline(t, broker.Options{})
	cl := c.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	p := cl.Go(ctx, "a", "to-block", job{To: "b"})
	await(t, b.began, "the second step runs")
	cancel()
	if err := p.Wait(nil); !errors.Is(err, client.ErrCancelled) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := await(t, b.ended, "the step ends"); !errors.Is(err, context.Canceled) {
		t.Errorf("the step's context: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := client.Do[job](ctx, cl, "a", "to-block", job{To: "b"}); !errors.Is(err, client.ErrDeadline) {
		t.Errorf("past the deadline: %v", err)
	}
	s := open(t, cl, "a")
	p = s.Go(t.Context(), "to-block", job{To: "b"})
	await(t, b.began, "the second step of a session's call runs")
	if err := cl.Close(); err != nil { // ends calls that are on their way
		t.Error(err)
	}
	if err := p.Wait(nil); !errors.Is(err, client.ErrClientDone) {
		t.Errorf("after Close: %v", err)
	}
}

// A stage that is full holds its callers up, and fails none of those whose first
// stage is done.
func TestSlowStageHoldsUpItsCallers(t *testing.T) {
	c := newCell(t, broker.Options{Queue: 2})
	a, b := newStage("a", 8), newStage("b", 1)
	c.serve(t, worker.Options{}, a.pool, b.pool)
	cl := c.dial(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := client.Do[job](t.Context(), cl, "a", "on", job{N: 1, To: "b"}); err != nil {
				t.Error(err)
			}
			_, err := client.Do[job](t.Context(), cl, "a", "to-block", job{To: "b"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	await(t, b.began, "the slow stage is busy")
	eventually(t, "its queue is full", func() bool { return c.pool(t, "b").Waiting == 2 })
	close(b.finish)
	all.Wait()
	if n := b.runs.Load(); n != 16 {
		t.Errorf("the slow stage ran %d times, want 16", n)
	}
}

// Who waits for pools that are not served waits in the first step and in later
// ones; in vain until the wait is over.
func TestLatePools(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	a, b := newStage("a", 1), newStage("b", 1)
	cl := c.dial(t)
	if _, err := client.Do[job](t.Context(), cl, "a", "end", j0); !errors.Is(err, client.ErrPoolUnknown) {
		t.Errorf("at once: %v", err)
	}
	begun := time.Now()
	_, err := client.Do[job](t.Context(), cl, "a", "end", j0, client.WithLatePools(), client.WithWait(150*time.Millisecond))
	if !errors.Is(err, client.ErrPoolUnknown) || !errors.Is(err, client.ErrNotRun) || time.Since(begun) < 150*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	_, err = client.Do[job](ctx, cl, "a", "end", j0, client.WithLatePools())
	told := errors.Is(err, client.ErrNotRun) && contains(err.Error(), `no node serves a pool "a"`)
	if !errors.Is(err, client.ErrDeadline) || !told && !errors.Is(err, client.ErrUnknown) { // unknown: it was just asked once more
		t.Errorf("at the deadline: %v", err)
	}
	p := cl.Go(t.Context(), "a", "on", job{N: 1, To: "b"}, client.WithLatePools())
	c.serve(t, worker.Options{}, a.pool)
	eventually(t, "the first step was done", func() bool { return a.runs.Load() == 1 })
	c.serve(t, worker.Options{}, b.pool)
	var got job
	if err := p.Wait(&got); err != nil || got.Path != "a.on b.on " {
		t.Errorf("%+v, %v", got, err)
	}
}

// The progress of all steps reaches the one who called.
func TestProgressOfSteps(t *testing.T) {
	c, _, _ := pipeline(t, broker.Options{})
	p := c.dial(t).Go(t.Context(), "a", "steps", job{N: 3, To: "b"})
	var got []string
	for v, err := range client.Progress[string](p) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	if text := strings.Join(got, " "); text != "b0 b1 b2 0 1 2" {
		t.Errorf("%s", text)
	}
	if err := p.Wait(nil); err != nil {
		t.Error(err)
	}
}

// A client that knows nothing of next steps gets the flag and the map.
func TestForeignClientSeesTheNextStep(t *testing.T) {
	c, _, _ := pipeline(t, broker.Options{})
	s := connectStranger(t, c.url)
	h := holderOf(s.openRaw("a"))
	h.Number = 1
	s.send(frame(callMessage(h, "split-join", 0)))
	a, body := s.hearHeader(wire.KindReply)
	n, err := wire.ParseNext(body)
	if err != nil || a.Flags&wire.FlagNext == 0 || a.Flags&wire.FlagRaw != 0 || len(n.Steps) != 2 || n.Steps[1].Name != "right" || n.Join.Method != "join" {
		t.Errorf("flags %b, %+v, %v", a.Flags, n, err)
	}
}
