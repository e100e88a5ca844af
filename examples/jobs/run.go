package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/limpet-rpc/limpet/cache"
	"github.com/limpet-rpc/limpet/client"
)

// run gives the workers one job after the other and says how they end.
func run(ctx context.Context, out io.Writer) error {
	c, err := client.Dial(ctx, "")
	if err != nil {
		return err
	}
	defer c.Close()

	lost := 0
	for item := range client.Job[string](ctx, c, "jobs", "eval", slices.Values(slices.Repeat([]string{"upper a message"}, 1000))) {
		if item.Err != nil || item.Result != "A MESSAGE" {
			lost++
		}
	}
	fmt.Fprintf(out, "1000 evals right after connecting: %d lost\n", lost)

	messages := slices.Repeat([]string{"a message"}, 10)
	by := map[string]int{}
	for item := range client.Job[string](ctx, c, "jobs", "say", slices.Values(messages)) {
		if item.Err != nil {
			return item.Err
		}
		by[item.Result]++
	}
	fmt.Fprintln(out, "10 messages:", by)

	values := cache.New(c, "jobs")
	if err := values.Set(ctx, "cached", []byte(" cached data "), 0); err != nil {
		return err
	}
	if err := gathered(ctx, c, messages, out); err != nil {
		return err
	}

	fmt.Fprintln(out, "delete what is not there, is it missing:", errors.Is(values.Delete(ctx, "nothing"), cache.ErrMissing))
	_, err = client.Do[string](ctx, c, "jobs", "sing", "a message")
	fmt.Fprintln(out, "an unknown method:", errors.Is(err, client.ErrMethodUnknown))
	return failing(ctx, c, out)
}

// gathered is a job with hooks: three results for each message, the last of them
// another, and what the end hook adds.
func gathered(ctx context.Context, c *client.Client, messages []string, out io.Writer) error {
	results := 0
	for item := range client.Job[string](ctx, c, "jobs", "say cached", slices.Values(messages), client.JobHooks()) {
		switch {
		case item.Err != nil:
			return item.Err
		case item.Index < 0:
			fmt.Fprintf(out, "%d results of %d messages by %s\n", results, len(messages), item.Result)
		default:
			if results++; results == 1 || results == 30 {
				fmt.Fprintf(out, "result %d: %s\n", results, item.Result)
			}
		}
	}
	return nil
}

// failing is a job whose items end with errors of several kinds, and one that
// does not.
func failing(ctx context.Context, c *client.Client, out io.Writer) error {
	evals := slices.Values([]string{"reverse egassem a", "sing a message", "fail on purpose", "panic on purpose"})
	for item := range client.Job[string](ctx, c, "jobs", "eval", evals, client.JobOrdered()) {
		switch {
		case errors.Is(item.Err, client.ErrMethod):
			fmt.Fprintf(out, "%s: an error of its own\n", item.Arg)
		case errors.Is(item.Err, client.ErrWorkerPanic):
			fmt.Fprintf(out, "%s: the handler panicked\n", item.Arg)
		case item.Err != nil:
			return item.Err
		default:
			fmt.Fprintf(out, "%s: %s\n", item.Arg, item.Result)
		}
	}
	return nil
}
