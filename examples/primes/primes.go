package main

import (
	"context"
	"math"
	"math/big"
	"strconv"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// pool is what the workers serve.
const pool = "primes"

// notPrime is the answer for a number that is none: no prime is 0.
const notPrime = "0"

// interval is the numbers From to To, both included.
type interval struct {
	From uint64 `json:"from,string"`
	To   uint64 `json:"to,string"`
}

// branches is into how many intervals a count is split, and branchMost how many
// numbers one of them may have.
const (
	branches   = 16
	branchMost = 1_000_000
)

func newPool(workers int) *worker.Pool[struct{}] {
	p := worker.NewPool(worker.Config[struct{}]{Pool: pool, Slots: workers})

	// One number in, the number or 0 out.
	worker.Handle(p, "is_prime", func(_ context.Context, _ struct{}, text []byte) ([]byte, error) {
		n, err := number(text)
		if err != nil || !isPrime(n) {
			return []byte(notPrime), err
		}
		return text, nil
	})

	// A count fans out over the pool and is joined there.
	worker.Handle(p, "count", func(_ context.Context, _ struct{}, query map[string]string) (uint64, error) {
		from, err := number([]byte(query["from"]))
		if err != nil {
			return 0, err
		}
		to, err := number([]byte(query["to"]))
		if err != nil {
			return 0, err
		}
		if to < from {
			return 0, nil // an early finish
		}
		if to-from >= branches*branchMost {
			return 0, bad("to count %d numbers, at most %d", to-from+1, branches*branchMost)
		}
		return 0, worker.Fan(split(from, to)...).Join(pool, "add")
	})
	worker.Handle(p, "count_part", func(ctx context.Context, _ struct{}, part interval) (uint64, error) {
		found := uint64(0)
		for n := part.From; ; n++ {
			if isPrime(n) {
				found++
			}
			if n == part.To || ctx.Err() != nil {
				return found, ctx.Err()
			}
		}
	})
	worker.Handle(p, "add", func(_ context.Context, _ struct{}, parts map[string]uint64) (uint64, error) {
		sum := uint64(0)
		for _, n := range parts {
			sum += n
		}
		return sum, nil
	})

	// The next prime is looked for one number a step: a cycle through the pool, in
	// which other requests have their turn.
	worker.Handle(p, "next", func(_ context.Context, _ struct{}, text []byte) ([]byte, error) {
		n, err := number(text)
		switch {
		case err != nil:
			return nil, err
		case isPrime(n):
			return text, nil
		case n == math.MaxUint64:
			return []byte(notPrime), nil // none of 64 bits is as large
		}
		return nil, worker.Next(pool, "next", strconv.AppendUint(nil, n+1, 10))
	})
	return p
}

// split makes branches of an interval.
func split(from, to uint64) []worker.Branch {
	var all []worker.Branch
	size := (to-from)/branches + 1
	for at := from; at <= to; at += size {
		part := interval{at, min(at+size-1, to)}
		all = append(all, worker.Branch{Name: strconv.Itoa(len(all)), Pool: pool, Method: "count_part", Arg: part})
		if part.To == to {
			break // at+size may not fit
		}
	}
	return all
}

// isPrime is right for every number of 64 bits: that is what package big says of
// ProbablyPrime(0). For small ones a few hundred divisions are faster.
func isPrime(n uint64) bool {
	if n >= 1<<20 {
		return new(big.Int).SetUint64(n).ProbablyPrime(0)
	}
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

func number(text []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return 0, bad("%.40q is no number from 0 to 18446744073709551615", text)
	}
	return n, nil
}

// bad is the caller's mistake: 400 in HTTP.
func bad(format string, args ...any) error {
	return session.Errorf(session.ErrBadArgument, format, args...)
}
