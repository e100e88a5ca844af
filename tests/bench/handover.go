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
)

// What `handover` does, and its bound on the median.
const (
	handoverSlots = 5
	handoverBound = 5 * time.Millisecond
)

// Handover holds the moments of one repetition, by sharedClock.
type Handover struct {
	WaitBegan   time.Duration   // the sixth client's Open was called
	Opened      time.Duration   // and returned
	CloseCalled []time.Duration // the others' Close was called
	CloseDone   []time.Duration // and returned
	Released    []time.Duration // the worker's Close callback ran
}

func (h Handover) fromRelease() time.Duration { return h.Opened - slices.Min(h.Released) }
func (h Handover) fromCall() time.Duration    { return h.Opened - slices.Min(h.CloseCalled) }
func (h Handover) fromReturn() time.Duration  { return h.Opened - slices.Min(h.CloseDone) }

// check refuses what would make the gap meaningless.
func (h Handover) check() error {
	switch {
	case len(h.Released) < handoverSlots || len(h.CloseCalled) != handoverSlots || len(h.CloseDone) != handoverSlots:
		return fmt.Errorf("%d releases of %d slots", len(h.Released), handoverSlots)
	case h.WaitBegan > slices.Min(h.CloseCalled):
		return errors.New("the sixth client came after the first release")
	case h.fromRelease() < 0:
		return fmt.Errorf("the sixth client was let in %v before a slot was released", -h.fromRelease())
	}
	return nil
}

// runHandover measures how long a released slot stands empty while somebody
// waits for it.
func runHandover(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("handover", 7, out)
	work := o.set.Duration("work", time.Second, "what each of the first five clients calls")
	if err := o.parse(args, map[string]string{"repeats": "5", "work": "200ms"}); err != nil {
		return err
	}
	if *work < 100*time.Millisecond {
		return usageError{fmt.Errorf("-work must be at least 100ms, so that the sixth client has to wait, not %v", *work)}
	}
	var runs []Handover
	for i := range o.repeats {
		h, err := measureHandover(ctx, *work, o.verbose)
		if err == nil {
			err = h.check()
		}
		if err != nil {
			return err
		}
		runs = append(runs, h)
		fmt.Fprintf(o.progress, "%d/%d  %.2f ms\n", i+1, o.repeats, milliseconds(h.fromRelease()))
	}
	return reportHandover(o, *work, runs, out)
}

func measureHandover(ctx context.Context, work time.Duration, verbose bool) (Handover, error) {
	family := &Family{verbose: verbose}
	defer family.Stop()
	setup := Setup{Sessions: handoverSlots}
	var h Handover
	if err := family.AddServers(ctx, limpetRelayed{}, setup); err != nil {
		return h, err
	}
	node := family.Members[1]
	clients, err := family.Add(ctx, "handover-client", setup)
	if err != nil {
		return h, err
	}
	if err := clients.Ask(ctx, "run", work, &h, work+readyWait); err != nil {
		return h, err
	}
	h.Released, err = releases(ctx, node)
	return h, err
}

// releases asks for the times of Close callbacks until all are known: a client's
// Close may return before the worker's callback has.
func releases(ctx context.Context, node *Child) ([]time.Duration, error) {
	late := time.Now().Add(readyWait)
	for {
		var list []time.Duration
		err := node.Ask(ctx, "closes", nil, &list, readyWait)
		if err != nil || len(list) >= handoverSlots || time.Now().After(late) {
			return list, err
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func reportHandover(o *options, work time.Duration, runs []Handover, out io.Writer) error {
	m := thisMachine()
	fmt.Fprintf(out, "%d slots, %d clients, %v of work each; gap until the waiting client's Open returned; %d repetitions\n%v\n\n",
		handoverSlots, handoverSlots+1, work, len(runs), m)
	fmt.Fprintf(out, "%-44s %8s %8s %8s\n", "ms since the first of", "min", "median", "max")
	row := func(name string, of func(Handover) time.Duration) Spread {
		var list []float64
		for _, h := range runs {
			list = append(list, milliseconds(of(h)))
		}
		s := spreadOf(list)
		fmt.Fprintf(out, "%-44s %8.2f %8.2f %8.2f\n", name, s.Min, s.Median, s.Max)
		return s
	}
	row("the worker's Close callback (release)", Handover.fromRelease)
	whole := row("the clients' calls of Close (contains it)", Handover.fromCall)
	row("the clients' returns from Close", Handover.fromReturn)
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine Machine
		Work    time.Duration
		Runs    []Handover
	}{m, work, runs}); err != nil {
		return err
	}
	return o.verdict(out, whole.Median <= milliseconds(handoverBound),
		fmt.Sprintf("median from the call of Close: %.2f ms, bound %.0f ms", whole.Median, milliseconds(handoverBound)))
}

// handoverClientRole is all six clients, each with a connection of its own.
func handoverClientRole(ctx context.Context, p *Process) error {
	var clients [handoverSlots + 1]*client.Client
	for i := range clients {
		var err error
		if clients[i], err = client.Dial(ctx, p.At[0]); err != nil {
			return err
		}
	}
	p.Answer("run", func(arg json.RawMessage) (any, error) {
		var work time.Duration
		if err := json.Unmarshal(arg, &work); err != nil {
			return nil, err
		}
		return handOver(ctx, clients[:], work)
	})
	p.Ready("")
	<-ctx.Done()
	return ctx.Err()
}

// handOver lets all but the last client fill the slots, work and close, while
// the last one waits.
func handOver(ctx context.Context, clients []*client.Client, work time.Duration) (Handover, error) {
	holders, last := clients[:len(clients)-1], clients[len(clients)-1]
	h := Handover{CloseCalled: make([]time.Duration, len(holders)), CloseDone: make([]time.Duration, len(holders))}
	sessions, errs := make([]*client.Session, len(holders)), make([]error, len(holders))
	for i, c := range holders {
		if sessions[i], errs[i] = openSession(ctx, c); errs[i] != nil {
			return h, errs[i]
		}
	}
	var working sync.WaitGroup
	queued := make(chan struct{}) // the last client has its place
	placed := sync.OnceFunc(func() { close(queued) })
	for i, s := range sessions {
		working.Go(func() {
			if _, errs[i] = client.Call[int64](ctx, s, "work", work.Milliseconds()); errs[i] != nil {
				return
			}
			<-queued // on a slow machine its work may be over before that
			h.CloseCalled[i] = sharedClock()
			errs[i] = s.Close(ctx)
			h.CloseDone[i] = sharedClock()
		})
	}
	h.WaitBegan = sharedClock()
	s, err := openSession(ctx, last, client.WithPlace(func(int) { placed() }))
	h.Opened = sharedClock()
	placed() // let in at once, or not at all: h tells which
	working.Wait()
	if err == nil { // a session that was let in must also work
		_, err = client.Call[int64](ctx, s, "work", int64(0))
	}
	return h, errors.Join(err, errors.Join(errs...))
}
