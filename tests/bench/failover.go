package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/cell"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/worker"
)

// What `failover` promises: the median of the first replies after a kill, and
// after a stop at the default limit.
const (
	failoverKillBound = 50 * time.Millisecond
	failoverStopBound = 650 * time.Millisecond
)

// Failover is one repetition: a master is taken away while sessions count.
type Failover struct {
	How    string        // "kill -9" or "SIGSTOP"
	At     time.Duration // by sharedClock, just before the signal
	First  time.Duration // end of the first call that began after it
	Last   time.Duration // end of the last session's first call that ended after it
	Calls  int           // increments over all
	Lost   int           // increments that the sessions do not have although they were answered
	Double int           // increments that they have and nobody was answered
	Errors []string      // calls that failed
}

func (f Failover) first() float64 { return milliseconds(f.First - f.At) }
func (f Failover) last() float64  { return milliseconds(f.Last - f.At) }

// runFailover measures how long a client waits when a cell loses its master.
func runFailover(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("failover", 9, out)
	candidates := o.set.Int("candidates", 5, "brokers of the cell")
	sessions := o.set.Int("sessions", 64, "sessions that count all the while")
	limit := o.set.Duration("limit", heartbeat.DefaultLimit, "how long a master may be silent")
	if err := o.parse(args, map[string]string{"repeats": "2", "sessions": "8"}); err != nil {
		return err
	}
	if *candidates < 3 || *sessions < 1 || *limit < cell.MinLimit {
		return usageError{fmt.Errorf("-candidates must be at least 3, -sessions 1, -limit %v", cell.MinLimit)}
	}
	var runs []Failover
	for i := range o.repeats {
		for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
			run, err := measureFailover(ctx, how, *candidates, Setup{Sessions: *sessions, Limit: *limit}, o.verbose)
			if err != nil {
				return err
			}
			runs = append(runs, run)
			fmt.Fprintf(o.progress, "%d/%d  %-8s first reply after %.1f ms, all sessions after %.1f ms, %d calls\n", i+1, o.repeats, run.How, run.first(), run.last(), run.Calls)
		}
	}
	return reportFailover(o, *candidates, *sessions, *limit, runs, out)
}

func measureFailover(ctx context.Context, how syscall.Signal, candidates int, setup Setup, verbose bool) (run Failover, err error) {
	family := &Family{verbose: verbose}
	defer family.Stop()
	if setup.Cell, err = os.MkdirTemp("", "limpet-cell-"); err != nil {
		return run, err
	}
	defer os.RemoveAll(setup.Cell)
	if setup.Listen, err = freeEndpoint(); err != nil {
		return run, err
	}
	for range candidates {
		if _, err := family.Add(ctx, "failover-candidate", setup); err != nil {
			return run, err
		}
	}
	if _, err := family.Add(ctx, "failover-node", setup); err != nil {
		return run, err
	}
	caller, err := family.Add(ctx, "failover-client", setup)
	if err != nil {
		return run, err
	}
	if err := sleep(ctx, 300*time.Millisecond); err != nil {
		return run, err
	}
	master, err := masterOf(ctx, family.Members[:candidates])
	if err != nil {
		return run, err
	}
	at := sharedClock()
	if err := syscall.Kill(master.Pid, how); err != nil {
		return run, err
	}
	if err := sleep(ctx, 2*setup.Limit+500*time.Millisecond); err != nil {
		return run, err
	}
	err = caller.Ask(ctx, "count", at, &run, readyWait)
	run.At, run.How = at, map[syscall.Signal]string{syscall.SIGKILL: "kill -9", syscall.SIGSTOP: "SIGSTOP"}[how]
	return run, err
}

// freeEndpoint names a port that was free a moment ago.
func freeEndpoint() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return "tcp://" + l.Addr().String(), l.Close()
}

func masterOf(ctx context.Context, candidates []*Child) (*Child, error) {
	for _, c := range candidates {
		var leads bool
		if err := c.Ask(ctx, "leads", nil, &leads, readyWait); err != nil {
			return nil, err
		}
		if leads {
			return c, nil
		}
	}
	return nil, errors.New("no candidate is master")
}

func reportFailover(o *options, candidates, sessions int, limit time.Duration, runs []Failover, out io.Writer) error {
	fmt.Fprintf(out, "a cell of %d candidates loses its master, limit %v, %d sessions counting on another process by way of the broker; ms from the signal to the first reply to a call that began after it\n%v\n\n",
		candidates, limit, sessions, thisMachine())
	held, said := true, ""
	for _, how := range []string{"kill -9", "SIGSTOP"} {
		var first, last []float64
		calls, wrong := 0, 0
		for _, r := range runs {
			if r.How != how {
				continue
			}
			first, last, calls = append(first, r.first()), append(last, r.last()), calls+r.Calls
			if wrong += r.Lost + r.Double + len(r.Errors); len(r.Errors) > 0 {
				said = r.Errors[0]
			}
		}
		f, l := spreadOf(first), spreadOf(last)
		fmt.Fprintf(out, "%-8s first reply: min %.1f  median %.1f  max %.1f; every session has one: min %.1f  median %.1f  max %.1f; %d runs, %d increments, %d lost, doubled or failed\n",
			how, f.Min, f.Median, f.Max, l.Min, l.Median, l.Max, len(first), calls, wrong)
		bound := failoverKillBound
		if how == "SIGSTOP" {
			bound = failoverStopBound - heartbeat.DefaultLimit + limit
		}
		held = held && wrong == 0 && f.Median <= milliseconds(bound)
	}
	if said != "" {
		fmt.Fprintf(out, "one that failed: %s\n", said)
	}
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine    Machine
		Candidates int
		Limit      time.Duration
		Runs       []Failover
	}{thisMachine(), candidates, limit, runs}); err != nil {
		return err
	}
	return o.verdict(out, held, fmt.Sprintf("median after kill -9 <= %v, after SIGSTOP <= %v; no increment lost or doubled", failoverKillBound, failoverStopBound-heartbeat.DefaultLimit+limit))
}

// failoverCandidateRole is one broker of the cell.
func failoverCandidateRole(ctx context.Context, p *Process) error {
	c, err := cell.Join(cell.Options{Dir: p.Cell, Limit: p.Limit, Broker: broker.Options{Listen: p.Listen}})
	if err != nil {
		return err
	}
	p.Answer("leads", func(json.RawMessage) (any, error) { return c.Broker() != nil, nil })
	p.Ready(p.Listen)
	return c.Run(ctx)
}

// failoverNodeRole serves sessions that count.
func failoverNodeRole(ctx context.Context, p *Process) error {
	pool := worker.NewPool(worker.Config[*int]{Pool: limpetPool, Slots: p.Sessions, Open: func(context.Context, *worker.Session) (*int, error) { return new(int), nil }})
	worker.Handle(pool, "add", func(_ context.Context, n *int, by int) (int, error) {
		*n += by
		return *n, nil
	})
	p.Ready("")
	return worker.Serve(ctx, worker.Options{Broker: p.Listen, Name: "bench"}, pool)
}

// counted is one call of a session.
type countedCall struct{ began, ended time.Duration }

// counting is one session that adds one, again and again.
type counting struct {
	session *client.Session
	calls   []countedCall
	count   int // as it was answered last
	wrong   string
}

func failoverClientRole(ctx context.Context, p *Process) error {
	c, err := client.Dial(ctx, p.Listen, client.WithRelayOnly())
	if err != nil {
		return err
	}
	sessions, err := openSessions(ctx, c, p.Sessions)
	if err != nil {
		return err
	}
	all := make([]*counting, len(sessions))
	stop := make(chan struct{})
	var calling sync.WaitGroup
	for i, s := range sessions {
		all[i] = &counting{session: s}
		calling.Go(func() { all[i].run(ctx, stop) })
	}
	p.Answer("count", func(arg json.RawMessage) (any, error) {
		var at time.Duration
		if err := json.Unmarshal(arg, &at); err != nil {
			return nil, err
		}
		close(stop)
		calling.Wait()
		return countUp(ctx, all, at), nil
	})
	p.Ready("")
	<-ctx.Done()
	return ctx.Err()
}

// run adds until it is stopped. Every answer must be one more than the last.
func (c *counting) run(ctx context.Context, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		began := sharedClock()
		n, err := client.Call[int](ctx, c.session, "add", 1)
		if err != nil {
			c.wrong = err.Error()
			return
		}
		c.calls = append(c.calls, countedCall{began, sharedClock()})
		if n != len(c.calls) && c.wrong == "" {
			c.wrong = fmt.Sprintf("increment %d was answered %d", len(c.calls), n)
		}
		c.count = n
	}
}

// countUp asks every session what it has counted, and looks when calls went on.
func countUp(ctx context.Context, all []*counting, at time.Duration) (run Failover) {
	for _, c := range all {
		has, err := client.Call[int](ctx, c.session, "add", 0)
		if err != nil {
			run.Errors = append(run.Errors, err.Error())
		} else {
			run.Lost += max(len(c.calls)-has, 0)
			run.Double += max(has-len(c.calls), 0)
		}
		if c.wrong != "" {
			run.Errors = append(run.Errors, c.wrong)
		}
		run.Calls += len(c.calls)
		i := slices.IndexFunc(c.calls, func(k countedCall) bool { return k.began >= at })
		if i < 0 {
			run.Errors = append(run.Errors, "a session has no call after the signal")
			continue
		}
		if end := c.calls[i].ended; run.First == 0 || end < run.First {
			run.First = end
		}
		run.Last = max(run.Last, c.calls[i].ended)
	}
	return run
}
