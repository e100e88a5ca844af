package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// PrimesEvery is one range whose odd numbers were asked for one by one.
type PrimesEvery struct {
	From, To uint64
	Workers  int
	Want     int64 // primes
	Load     WebLoad
}

// primesLarge is the second range of `primes-every`, and how many primes it has.
const (
	primesLargeFrom  = 100_000_000_000_000
	primesLargeTo    = 100_000_000_008_000
	primesLargeFound = 238
)

// runPrimesEvery asks for every odd number of two ranges, a request a number, of
// one worker process and of eight.
func runPrimesEvery(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("primes-every", 1, out)
	to := o.set.Uint64("to", primesTo, "the first range is 3 to this one")
	connections := o.set.Int("connections", 8*primesWorkers, "kept alive, a request at a time on each")
	if err := o.parse(args, map[string]string{"to": "19999"}); err != nil {
		return err
	}
	if *to < 3 || *to > 100_000_000 || *connections < 1 {
		return usageError{errors.New("-to must be 3 to 100,000,000, -connections positive")}
	}
	var all []PrimesEvery
	for range o.repeats {
		for _, workers := range []int{1, primesWorkers} {
			got, err := measurePrimesEvery(ctx, *to, workers, *connections, o.verbose)
			if err != nil {
				return err
			}
			for _, e := range got {
				fmt.Fprintf(o.progress, "%d workers, %d to %d: %d primes, %.0f/s\n", workers, e.From, e.To, e.Load.Found, e.Load.rate())
			}
			all = append(all, got...)
		}
	}
	return reportPrimesEvery(o, all, out)
}

// measurePrimesEvery asks for both ranges with so many workers.
func measurePrimesEvery(ctx context.Context, to uint64, workers, connections int, verbose bool) ([]PrimesEvery, error) {
	family, server, err := primesSite(ctx, workers, verbose)
	if err != nil {
		return nil, err
	}
	defer family.Stop()
	load, err := family.Add(ctx, "primes-load", Setup{})
	if err != nil {
		return nil, err
	}
	all := []PrimesEvery{
		{From: 3, To: to, Workers: workers, Want: primesUpTo(to)},
		{From: primesLargeFrom, To: primesLargeTo, Workers: workers, Want: primesLargeFound},
	}
	for i := range all {
		e := &all[i]
		order := WebOrder{URL: server.Endpoint, From: e.From, To: e.To, Connections: connections}
		if err := load.Ask(ctx, "load", order, &e.Load, loadWait); err != nil {
			return nil, fmt.Errorf("%d workers, %d to %d: %w", workers, e.From, e.To, err)
		}
	}
	return all, nil
}

// primesUpTo counts the odd primes up to n with a sieve: by no means of those
// that are measured.
func primesUpTo(n uint64) (found int64) {
	composite := make([]bool, n+1)
	for i := uint64(3); i <= n; i += 2 {
		if composite[i] {
			continue
		}
		found++
		for k := i * i; k <= n; k += 2 * i {
			composite[k] = true
		}
	}
	return found
}

func reportPrimesEvery(o *options, all []PrimesEvery, out io.Writer) error {
	m := thisMachine()
	fmt.Fprintf(out, "every odd number, each a request to the front\n%v\n\n", m)
	fmt.Fprintf(out, "%-34s %8s %10s %8s %8s %11s %10s\n", "", "workers", "requests", "primes", "want", "requests/s", "p99, ms")
	wrong := 0
	for _, e := range all {
		if e.Load.Found != e.Want || e.Load.Requests != int64((e.To-(e.From|1))/2+1) {
			wrong++
		}
		fmt.Fprintf(out, "%-34s %8d %10d %8d %8d %11.0f %10.1f\n", fmt.Sprintf("%d to %d", e.From, e.To), e.Workers,
			e.Load.Requests, e.Load.Found, e.Want, e.Load.rate(), milliseconds(e.Load.P99))
	}
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine Machine
		Runs    []PrimesEvery
	}{m, all}); err != nil {
		return err
	}
	return o.verdict(out, wrong == 0, fmt.Sprintf("every number was asked for once, and as many primes found as there are, by 1 worker and by %d: %d of %d runs were wrong",
		primesWorkers, wrong, len(all)))
}
