package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// outcomes is what callers were told of their calls, each of which notes a
// number of its own.
type outcomes struct {
	*testing.T
	stop    chan struct{}
	callers sync.WaitGroup

	mu    sync.Mutex
	next  int
	told  map[int]told
	codes map[string]int // by code and outcome
}

// told is what a caller was told of one call.
type told struct {
	outcome session.Outcome
	as      string // the kind of call
	err     error
}

func (o *outcomes) number() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next++
	return o.next
}

// tell takes what a caller was told of call n.
func (o *outcomes) tell(n int, as string, err error) {
	outcome, name := session.Done, "ok"
	if err != nil {
		e, ok := errors.AsType[*session.Error](err)
		if !ok {
			o.Errorf("call %d ended with %v, which says nothing of its outcome", n, err)
			return
		}
		outcome, name = e.Outcome, e.Code.Error()+", "+e.Outcome.Error()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, twice := o.told[n]; twice {
		o.Errorf("call %d ended twice", n)
	}
	o.told[n] = told{outcome, as, err}
	o.codes[as+": "+name]++
}

// run is one caller: sessions of one call, sessions whose first call comes
// along, sessions with a queue of calls; some of them impatient.
func (o *outcomes) run(cl *client.Client) {
	for {
		select {
		case <-o.stop:
			return
		default:
		}
		patience := long
		if rand.IntN(4) == 0 {
			patience = time.Duration(1+rand.IntN(200)) * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		switch rand.IntN(3) {
		case 0:
			n := o.number()
			_, err := client.Do[int](ctx, cl, "note", "note", n)
			o.tell(n, "Do", err)
		case 1:
			n := o.number()
			s, err := cl.OpenCall(ctx, "note", "note", n, nil)
			o.tell(n, "OpenCall", err)
			o.finish(ctx, s)
		case 2:
			s, err := cl.Open(ctx, "note")
			if err == nil {
				o.finish(ctx, s)
			}
		}
		cancel()
	}
}

// finish makes some calls at once, and closes the session.
func (o *outcomes) finish(ctx context.Context, s *client.Session) {
	if s == nil {
		return
	}
	calls := map[int]*client.Pending{}
	for range rand.IntN(8) {
		n := o.number()
		calls[n] = s.Go(ctx, "note", n)
	}
	for n, p := range calls {
		o.tell(n, "Go", p.Wait(nil))
	}
	if err := closeSession(s); err != nil {
		o.Errorf("close: %v", err)
	}
}

// check compares what was told with what handlers noted.
func (o *outcomes) check(files ...string) {
	o.Helper()
	ran := map[int]int{}
	for _, file := range files {
		for _, numbers := range notes(o.T, file) {
			for _, n := range numbers {
				ran[n]++
			}
		}
	}
	for n := 1; n <= o.next; n++ {
		end, known := o.told[n]
		switch times := ran[n]; {
		case !known:
			o.Errorf("call %d has no end", n)
		case times > 1:
			o.Errorf("call %d (%s) ran %d times: %v", n, end.as, times, end.err)
		case end.outcome == session.Done && times == 0:
			o.Errorf("call %d (%s) never ran and is called done: %v", n, end.as, end.err)
		case end.outcome == session.NotRun && times > 0:
			o.Errorf("call %d (%s) ran and is called not run: %v", n, end.as, end.err)
		}
	}
}

// tooFew names a kind of call of which less were done than show anything.
func (o *outcomes) tooFew() (as string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, as := range []string{"Do", "OpenCall", "Go"} {
		if o.codes[as+": ok"] < 20 {
			return as
		}
	}
	return ""
}

// Brokers and nodes are killed and replaced and connections are reset while
// sessions come and go in every way. Whatever a caller was told of a call is
// true, and no slot is left behind.
func TestOutcomesAreTrue(t *testing.T) {
	length := 8 * time.Second
	if soak() {
		length = time.Minute
	}
	c := newCell(t, "BEAT=300", "MISSES=10", "RECOVERY=1500", "LEASE=4000")
	front, back := newProxy(t, "front", c.url), newProxy(t, "back", c.url)
	var files []string
	startNode := func(i int) *child {
		file := filepath.Join(c.records, fmt.Sprint("notes", i))
		files = append(files, file)
		return c.startNode(fmt.Sprint("node", i), "note", 8, "NOTES="+file, "PAUSE=1", "BROKER="+back.url(), "BEAT=300", "MISSES=10", "POOL_LEASE=4000")
	}
	nodes := []*child{startNode(0), startNode(1)}
	o := &outcomes{T: t, stop: make(chan struct{}), told: map[int]told{}, codes: map[string]int{}}
	for range 4 {
		cl := dial(t, front.url())
		for range 6 {
			o.callers.Go(func() { o.run(cl) })
		}
	}
	ctx, calm := context.WithCancel(t.Context())
	defer calm()
	broken := make(chan int, 1)
	go func() { broken <- resets(ctx, front, back) }()
	kills := [2]int{}
	for began := time.Now(); time.Since(began) < length || o.tooFew() != "" && time.Since(began) < long; {
		time.Sleep(time.Duration(300+rand.IntN(700)) * time.Millisecond) // what a kill interrupts is left to chance
		if rand.IntN(2) == 0 {
			c.broker.kill()
			c.startBroker()
			kills[0]++
			continue
		}
		i := rand.IntN(len(nodes))
		nodes[i].kill()
		nodes[i] = startNode(len(files))
		kills[1]++
	}
	calm()
	n := <-broken
	close(o.stop)
	o.callers.Wait()
	o.check(files...)
	if as := o.tooFew(); as != "" {
		t.Errorf("%d calls of %s were done: too few to show anything", o.codes[as+": ok"], as)
	}
	eventually(t, "every slot is free", func() bool {
		p := c.broker.report().pool("note")
		return p.Slots == 16 && p.Free == 16 && p.Waiting == 0
	})
	t.Logf("%d kills of the broker, %d of nodes, %d resets: %d calls, as %v", kills[0], kills[1], n, o.next, o.codes)
}
