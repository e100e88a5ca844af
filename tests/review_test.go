package tests

import (
	"context"
	"errors"
	"github.com/limpet-rpc/limpet/cache"
	"github.com/limpet-rpc/limpet/client"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/worker"
)

// A reader that fails after its call has ended must harm no other call.
func TestReviewLateReaderError(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 1})
	worker.HandleStream(p, "refuse", func(context.Context, struct{}, io.Reader, io.Writer) error { return errors.New("not wanted") })
	worker.Handle(p, "nap", func(ctx context.Context, _ struct{}, _ any) (string, error) {
		select {
		case <-time.After(300 * time.Millisecond):
			return "slept", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	c.serve(t, worker.Options{}, p)
	s := open(t, c.dial(t), "p")
	for i := range 10 {
		r, w := io.Pipe()
		if err := s.Call(t.Context(), "refuse", r, nil); err == nil {
			t.Fatal("taken")
		}
		var all sync.WaitGroup
		all.Go(func() {
			time.Sleep(100 * time.Millisecond)
			w.CloseWithError(errors.New("the upload broke off"))
		})
		var word string
		if err := s.Call(t.Context(), "nap", nil, &word); err != nil {
			t.Fatalf("round %d: a call that nobody cancelled: %v", i, err)
		}
		all.Wait()
	}
}

// lateCtx ends when it is waited for, once ready says so.
type lateCtx struct {
	context.Context
	done  chan struct{}
	ready func()
	over  atomic.Bool
}

func (l *lateCtx) Done() <-chan struct{} {
	if l.over.CompareAndSwap(false, true) {
		l.ready()
		close(l.done)
	}
	return l.done
}

func (l *lateCtx) Err() error {
	if l.over.Load() {
		return context.Canceled
	}
	return nil
}

// C: an attach whose context ends together with its answer keeps no session.
func TestReviewAttachGivenUp(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 20, Lease: time.Second})
	worker.Handle(p, "m", func(context.Context, struct{}, any) (int, error) { return 0, nil })
	c.serve(t, worker.Options{}, p)
	one, two := c.dial(t), c.dial(t)
	gaveUp := 0
	for range 10 {
		s := open(t, one, "p")
		ctx := &lateCtx{Context: context.Background(), done: make(chan struct{}), ready: func() { time.Sleep(100 * time.Millisecond) }}
		taken, err := two.Attach(ctx, s.Token())
		if err == nil {
			closeSession(t, taken)
			continue
		}
		gaveUp++
	}
	time.Sleep(4 * time.Second)
	if st := c.pool(t, "p"); st.Free != 20 {
		t.Errorf("%d attaches were given up; 4 s later, with a lease of 1 s, %d of 20 slots are free", gaveUp, st.Free)
	}
}

// G: a request whose neighbour in a kept session panics was not run: it is made again.
func TestReviewKeptNeighbours(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "web", Slots: 1})
	began, let := make(chan bool, 10), make(chan bool)
	worker.Handle(p, "do", func(_ context.Context, _ struct{}, what string) (string, error) {
		if what == "boom" {
			began <- true
			<-let
			panic("as told")
		}
		return "fine", nil
	})
	c.serve(t, worker.Options{}, p)
	s := site(t, c.dial(t), route("POST /do", "do", "keep = 1", "ahead = 4"))
	boom, fine := make(chan reply, 1), make(chan reply, 1)
	go func() { boom <- ask(t, request(t, http.MethodPost, s.URL+"/do", `"boom"`)) }()
	<-began
	go func() { fine <- ask(t, request(t, http.MethodPost, s.URL+"/do", `"other"`)) }()
	time.Sleep(200 * time.Millisecond)
	close(let)
	if got := await(t, boom, "boom"); got.status != 500 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := await(t, fine, "fine"); got.status != 200 {
		t.Errorf("the neighbour: %d %s %v", got.status, got.body, got.header)
	}
}

// F: who asks and never reads takes nobody else's place for longer than writeTime.
func TestReviewNeverReads(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newWebbed(4)
	worker.Handle(w.pool, "page", func(context.Context, *int, any) ([]byte, error) { return make([]byte, 30<<10), nil })
	c.serve(t, worker.Options{}, w.pool)
	s := site(t, c.dial(t), "most = 2\n"+route("/page", "page", `deadline = "500ms"`)+route("/count", "count"))
	for range 2 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go io.WriteString(conn, strings.Repeat("GET /page HTTP/1.1\r\nHost: x\r\n\r\n", 5000))
	}
	eventually(t, "there is no room", func() bool { return ask(t, request(t, http.MethodGet, s.URL+"/count", "")).status == 503 })
	for began := time.Now(); time.Since(began) < 40*time.Second; time.Sleep(time.Second) {
		if ask(t, request(t, http.MethodGet, s.URL+"/count", "")).status == 200 && time.Since(began) > 5*time.Second {
			return
		}
	}
	t.Errorf("40 s later: %s", ask(t, request(t, http.MethodGet, s.URL+"/healthz", "")).body)
}

// J1: where ctx ends nothing more is taken from seq.
func TestReviewJobTakesNothingMore(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, counters("p", 2))
	cl := c.dial(t)
	for range 30 {
		ctx, cancel := context.WithCancel(t.Context())
		more := 0
		seq := func(yield func(int) bool) {
			for i := range 100 {
				if i == 3 {
					cancel()
				}
				if i > 3 {
					more++
				}
				if !yield(i) {
					return
				}
			}
		}
		for range client.Job[int](ctx, cl, "p", "add", seq) {
		}
		if more > 0 {
			t.Errorf("%d items were taken after the job's context had ended", more)
		}
	}
}

// J2: past its limit an item ends as ErrDeadline.
func TestReviewJobLimit(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 1, Open: func(context.Context, *worker.Session) (struct{}, error) {
		return struct{}{}, errors.New("not today")
	}})
	worker.Handle(p, "m", func(context.Context, struct{}, int) (int, error) { return 0, nil })
	c.serve(t, worker.Options{}, p)
	for item := range client.Job[int](t.Context(), c.dial(t), "p", "m", func(yield func(int) bool) { yield(1) }, client.JobLimit(300*time.Millisecond)) {
		if !errors.Is(item.Err, client.ErrDeadline) {
			t.Errorf("%v", item.Err)
		}
	}
}

// D: WithLatePools holds for OpenCall.
func TestReviewOpenCallLatePools(t *testing.T) {
	c := newCell(t, prompt())
	cl := c.dial(t)
	go func() {
		time.Sleep(300 * time.Millisecond)
		c.serve(t, worker.Options{}, counters("late", 1))
	}()
	var n int
	s, err := cl.OpenCall(t.Context(), "late", "add", 1, &n, client.WithLatePools(), client.WithWait(5*time.Second))
	if err != nil {
		t.Errorf("%v", err)
	} else {
		closeSession(t, s)
	}
	time.Sleep(500 * time.Millisecond)
}

// K: a value whose time is over is not kept for ever.
func TestReviewCachePast(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, cached(t, 1<<20))
	ch := cache.New(c.dial(t), "jobs")
	if err := ch.Set(t.Context(), "k", []byte("v"), -time.Second); err != nil {
		t.Skip(err)
	}
	time.Sleep(5 * time.Millisecond)
	if v, err := ch.Get(t.Context(), "k"); !errors.Is(err, cache.ErrMissing) {
		t.Errorf("set until a second ago: %q, %v", v, err)
	}
}

// B: one goroutine may read answers while another waits for the end.
func TestReviewAnswersBesideWait(t *testing.T) {
	c := newCell(t, prompt())
	herds(t, c, 4)
	cl := c.dial(t)
	for range 20 {
		k := client.Broadcast[string](bounded(t), cl, "herd", "who", nil)
		answers := k.Answers()
		sums := make(chan client.Complete, 1)
		go func() { sum, _ := k.Wait(); sums <- sum }()
		read := 0
		for range answers {
			read++
		}
		if sum := <-sums; sum.Members != 4 || read != 4 {
			t.Fatalf("of %d members %d answers were read", sum.Members, read)
		}
	}
}
