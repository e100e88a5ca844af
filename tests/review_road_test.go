package tests

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// A stream that nobody reads holds up no other client's.
func TestReviewSlowReader(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 4})
	worker.HandleStream(p, "stream", func(_ context.Context, _ struct{}, in io.Reader, w io.Writer) error {
		b, _ := io.ReadAll(in)
		_, err := w.Write(make([]byte, len(b)<<10))
		return err
	})
	c.serve(t, worker.Options{}, p)
	slow, quick := open(t, c.dial(t, client.WithRelayOnly()), "p"), open(t, c.dial(t, client.WithRelayOnly()), "p")
	try := func(what string) time.Duration {
		began := time.Now()
		r, err := quick.Stream(t.Context(), "stream", make([]byte, 100))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != 100<<10 {
			t.Fatal(n, err)
		}
		t.Logf("100 KiB %s: %s", what, time.Since(began))
		return time.Since(began)
	}
	try("at first")
	try("alone")
	r, err := slow.Stream(t.Context(), "stream", make([]byte, 3<<10))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if took := try("beside a stream that nobody reads"); took > 300*time.Millisecond {
		t.Errorf("beside another client's stream that nobody reads, 100 KiB take %s", took)
	}
	try("after that")
	r.Close()
}
