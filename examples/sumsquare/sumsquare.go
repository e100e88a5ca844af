package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// numbersMost bounds how many numbers a request may name. They have four digits
// at most, so that nothing overflows.
const numbersMost = 1000

// result is the difference between the square of the sum and the sum of the
// squares.
type result struct {
	Diff   int `json:"diff"`
	Square int `json:"square"`
	Sum    int `json:"sum"`
}

// askPool takes requests apart and puts results together.
func askPool(slots int) *worker.Pool[struct{}] {
	p := worker.NewPool(worker.Config[struct{}]{Pool: "ask", Slots: slots})
	worker.Handle(p, "ask", func(_ context.Context, _ struct{}, text []byte) (result, error) {
		n, err := numbers(string(text))
		if err != nil {
			return result{}, err
		}
		return result{}, worker.Fan(
			worker.Branch{Name: "sum", Pool: "sum", Method: "of_squares", Arg: n},
			worker.Branch{Name: "square", Pool: "square", Method: "of_sum", Arg: n},
		).Join("ask", "join")
	})
	worker.Handle(p, "join", func(_ context.Context, _ struct{}, of map[string]int) (result, error) {
		return result{Diff: of["square"] - of["sum"], Square: of["square"], Sum: of["sum"]}, nil
	})
	return p
}

func sumPool(slots int) *worker.Pool[struct{}] {
	p := worker.NewPool(worker.Config[struct{}]{Pool: "sum", Slots: slots})
	worker.Handle(p, "of_squares", func(_ context.Context, _ struct{}, numbers []int) (int, error) {
		sum := 0
		for _, n := range numbers {
			sum += n * n
		}
		return sum, nil
	})
	return p
}

func squarePool(slots int) *worker.Pool[struct{}] {
	p := worker.NewPool(worker.Config[struct{}]{Pool: "square", Slots: slots})
	worker.Handle(p, "of_sum", func(_ context.Context, _ struct{}, numbers []int) (int, error) {
		sum := 0
		for _, n := range numbers {
			sum += n
		}
		return sum * sum, nil
	})
	return p
}

// numbers reads "1..10", "42" or "1,2,3". The routes let nothing else pass.
func numbers(text string) ([]int, error) {
	var all []int
	if from, to, is := strings.Cut(text, ".."); is {
		first, err := strconv.Atoi(from)
		last, bad := strconv.Atoi(to)
		if err != nil || bad != nil || last-first >= numbersMost {
			return nil, session.Errorf(session.ErrBadArgument, "want at most %d numbers, as in 1..10, not %.40q", numbersMost, text)
		}
		for n := first; n <= last; n++ {
			all = append(all, n)
		}
		return all, nil
	}
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || len(all) == numbersMost {
			return nil, session.Errorf(session.ErrBadArgument, "want at most %d numbers, as in 1,2,3, not %.40q", numbersMost, text)
		}
		all = append(all, n)
	}
	return all, nil
}
