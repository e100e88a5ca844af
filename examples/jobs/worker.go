package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/limpet-rpc/limpet/cache"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// functions are what eval knows.
var functions = map[string]func(text string) (string, error){
	"upper": func(text string) (string, error) { return strings.ToUpper(text), nil },
	"reverse": func(text string) (string, error) {
		r := []rune(text)
		slices.Reverse(r)
		return string(r), nil
	},
	"fail":  func(text string) (string, error) { return "", errors.New(text) },
	"panic": func(text string) (string, error) { panic(text) },
}

// work serves the pool "jobs" until ctx ends; the host its hooks and its cache too.
func work(ctx context.Context, name string, host bool) error {
	c, err := client.Dial(ctx, "") // for the cache
	if err != nil {
		return err
	}
	defer c.Close()
	values := cache.New(c, "jobs")

	pool := worker.NewPool(worker.Config[struct{}]{Pool: "jobs", Slots: 100})
	worker.Handle(pool, "eval", func(_ context.Context, _ struct{}, text string) (string, error) {
		function, text, _ := strings.Cut(text, " ")
		f := functions[function]
		if f == nil {
			return "", fmt.Errorf("no function %q", function)
		}
		return f(text)
	})
	worker.Handle(pool, "say", func(_ context.Context, _ struct{}, text string) (string, error) {
		return name + " " + text, nil
	})
	worker.Handle(pool, "say cached", func(ctx context.Context, _ struct{}, text string) (string, error) {
		cached, err := values.Get(ctx, "cached")
		return name + string(cached) + text, err
	})
	served := []worker.Served{pool}
	if host {
		kept, err := cache.Pool(cache.Config{Pool: "jobs"})
		if err != nil {
			return err
		}
		served = append(served, hooks(), kept)
	}
	return worker.Serve(ctx, worker.Options{Name: name}, served...)
}

// seen is what the hooks know of one job.
type seen struct {
	results int
	by      map[string]int
}

// hooks make three of every text, count the results, and put another text in the
// place of the thirtieth.
func hooks() *worker.Hooks[*seen] {
	h := worker.NewHooks(worker.Config[*seen]{
		Pool: "jobs",
		Open: func(context.Context, *worker.Session) (*seen, error) { return &seen{by: map[string]int{}}, nil },
	})
	worker.OnScatter(h, func(_ context.Context, _ *seen, text string, emit func(string) error) error {
		return errors.Join(emit(text), emit(text), emit(text))
	})
	worker.OnGather(h, func(_ context.Context, s *seen, r worker.Result[string], emit func(string) error) error {
		name, _, _ := strings.Cut(r.Value, " ")
		s.by[name]++
		if s.results++; s.results == 30 {
			return emit("final message")
		}
		return emit(r.Value)
	})
	worker.OnEnd(h, func(_ context.Context, s *seen, emit func(string) error) error {
		return emit(fmt.Sprint(s.by)) // in the order of the names
	})
	return h
}
