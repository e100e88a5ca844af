package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// Limpet's defaults, stated when no flag changes them, and what is allowed on
// top of the beat limit: the tick of the broker's loop and the way of the answer.
const (
	defaultBeat   = time.Second
	defaultMisses = 3
	lostAllowance = 100 * time.Millisecond
)

// LostCall is how a call in flight ended.
type LostCall struct {
	At    time.Duration // by sharedClock
	Lost  bool          // its error is ErrWorkerLost
	Error string
}

// Loss is one repetition.
type Loss struct {
	Killed time.Duration // by sharedClock, just before the signal
	Calls  []LostCall
}

// runLost measures how long calls hang whose node is killed.
func runLost(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("lost", 5, out)
	calls := o.set.Int("calls", 16, "calls in flight")
	beat := o.set.Duration("beat", defaultBeat, "the node's beat")
	misses := o.set.Int("misses", defaultMisses, "missed beats until a node is lost")
	if err := o.parse(args, map[string]string{"repeats": "5", "beat": "200ms"}); err != nil {
		return err
	}
	if *calls < 1 || *beat <= 0 || *misses < 1 {
		return usageError{errors.New("-calls, -beat and -misses must be positive")}
	}
	var runs []Loss
	for i := range o.repeats {
		setup := Setup{Sessions: *calls, Beat: *beat, Misses: *misses}
		phase := time.Duration(i) * *beat / time.Duration(o.repeats) // spread over the beat
		loss, err := measureLoss(ctx, setup, phase, o.verbose)
		if err != nil {
			return err
		}
		runs = append(runs, loss)
		fmt.Fprintf(o.progress, "%d/%d  last of %d errors after %.1f ms\n", i+1, o.repeats, len(loss.Calls), slices.Max(loss.delays()))
	}
	return reportLost(o, *beat, *misses, runs, out)
}

// delays are the milliseconds from the kill to each call's error.
func (l Loss) delays() []float64 {
	list := make([]float64, len(l.Calls))
	for i, c := range l.Calls {
		list[i] = milliseconds(c.At - l.Killed)
	}
	return list
}

func measureLoss(ctx context.Context, setup Setup, phase time.Duration, verbose bool) (Loss, error) {
	family := &Family{verbose: verbose}
	defer family.Stop()
	var loss Loss
	if err := family.AddServers(ctx, limpetRelayed{}, setup); err != nil {
		return loss, err
	}
	node := family.Members[1]
	caller, err := family.Add(ctx, "lost-client", setup)
	if err != nil {
		return loss, err
	}
	answered := make(chan error, 1)
	go func() { answered <- caller.Ask(ctx, "hold", nil, &loss.Calls, lossWait(setup)) }()
	if err := waitHeld(ctx, node, setup.Sessions, answered); err != nil {
		return loss, errors.Join(err, stopAndWait(family, answered))
	}
	if err := sleep(ctx, phase); err != nil {
		return loss, errors.Join(err, stopAndWait(family, answered))
	}
	killed := sharedClock()
	if err := node.Kill(); err != nil {
		return loss, errors.Join(err, stopAndWait(family, answered))
	}
	err = <-answered
	loss.Killed = killed
	return loss, err
}

// lossWait is long enough to see a bound missed by far.
func lossWait(s Setup) time.Duration {
	return readyWait + 4*time.Duration(s.Misses)*s.Beat
}

// stopAndWait ends the processes and with them the question that is open.
func stopAndWait(f *Family, answered <-chan error) error {
	f.Stop()
	return <-answered
}

// waitHeld returns when n calls run on the node.
func waitHeld(ctx context.Context, node *Child, n int, answered chan error) error {
	for {
		var held int
		if err := node.Ask(ctx, "running", nil, &held, readyWait); err != nil {
			return err
		}
		if held == n {
			return nil
		}
		select {
		case err := <-answered:
			answered <- err
			return errors.New("calls ended before the node was killed")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func reportLost(o *options, beat time.Duration, misses int, runs []Loss, out io.Writer) error {
	m := thisMachine()
	limit := beat*time.Duration(misses) + lostAllowance
	var delays []float64
	wrong, said := 0, ""
	for _, run := range runs {
		delays = append(delays, run.delays()...)
		for _, c := range run.Calls {
			if !c.Lost {
				wrong, said = wrong+1, c.Error
			}
		}
	}
	s := spreadOf(delays)
	fmt.Fprintf(out, "kill -9 of a node, beat %v, %d misses; ms from the kill to each call's error; %d repetitions, %d calls\n%v\n\n",
		beat, misses, len(runs), len(delays), m)
	fmt.Fprintf(out, "min %.1f  median %.1f  max %.1f ms; %d of %d errors were ErrWorkerLost\n\n", s.Min, s.Median, s.Max, len(delays)-wrong, len(delays))
	if wrong > 0 {
		fmt.Fprintf(out, "one that was not: %s\n", said)
	}
	if err := o.write(struct {
		Machine Machine
		Beat    time.Duration
		Misses  int
		Runs    []Loss
	}{m, beat, misses, runs}); err != nil {
		return err
	}
	return o.verdict(out, wrong == 0 && s.Max <= milliseconds(limit),
		fmt.Sprintf("every call ErrWorkerLost within %v (beat limit %v + %v): max %.1f ms", limit, limit-lostAllowance, lostAllowance, s.Max))
}

// lostClientRole makes the calls that will be lost.
func lostClientRole(ctx context.Context, p *Process) error {
	c, err := client.Dial(ctx, p.At[0])
	if err != nil {
		return err
	}
	sessions, err := openSessions(ctx, c, p.Sessions)
	if err != nil {
		return err
	}
	p.Answer("hold", func(json.RawMessage) (any, error) {
		ends := make([]LostCall, len(sessions))
		var calling sync.WaitGroup
		for i, s := range sessions {
			calling.Go(func() { ends[i] = holdUntilLost(ctx, s) })
		}
		calling.Wait()
		return ends, nil
	})
	p.Ready("")
	<-ctx.Done()
	return ctx.Err()
}

func holdUntilLost(ctx context.Context, s *client.Session) LostCall {
	_, err := client.Call[int64](ctx, s, "hold", int64(0))
	end := LostCall{At: sharedClock(), Lost: errors.Is(err, session.ErrWorkerLost), Error: "no error"}
	if err != nil {
		end.Error = err.Error()
	}
	return end
}
