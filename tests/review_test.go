package tests

import (
	"context"
	"errors"
	"io"
	"sync"
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
