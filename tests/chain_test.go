package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// chainStages are the pools of a chain.
var chainStages = []string{"first", "second"}

// chainRole serves all stages of a chain, and writes down each run before it is
// done: what is written is there even if the process is killed in the next
// moment.
func chainRole(ctx context.Context) error {
	ledger, err := os.OpenFile(os.Getenv("LEDGER"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer ledger.Close()
	var served []worker.Served
	for _, name := range chainStages {
		p := worker.NewPool(worker.Config[struct{}]{Pool: name, Slots: setting("SLOTS")})
		worker.Handle(p, "next", func(_ context.Context, _ struct{}, n int) (int, error) {
			_, err := fmt.Fprintln(ledger, name, n)
			return n + 1, err
		})
		served = append(served, p)
	}
	o := worker.Options{Broker: os.Getenv("BROKER"), Beat: millis("BEAT"), Misses: setting("MISSES"), Logger: quiet()}
	return worker.Serve(ctx, o, served...)
}

// ledgerOf counts the runs by stage and argument.
func ledgerOf(t *testing.T, file string) map[string]map[int]int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	runs := map[string]map[int]int{}
	for _, name := range chainStages {
		runs[name] = map[int]int{}
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var name string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &name, &n); err != nil || runs[name] == nil {
			t.Fatalf("the ledger says %q", lines.Text())
		}
		runs[name][n]++
	}
	return runs
}

// A process that serves both stages of a chain is killed in the middle: every
// stage has run once for each item that has a result. An item that has none is
// told as unknown, in the stage that may have run; what came before has run once,
// what would have come after has not.
func TestJobChainOutlivesAWorker(t *testing.T) {
	c := newCell(t, broker.Options{})
	const slots, items = 8, 2000
	ledger := filepath.Join(t.TempDir(), "ledger")
	if err := os.WriteFile(ledger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := append([]string{"BROKER=" + c.url, fmt.Sprint("SLOTS=", slots), "LEDGER=" + ledger}, quick...)
	one := start(t, "chain", env...)
	start(t, "chain", env...)
	eventually(t, "both nodes are registered", func() bool { return c.nodes(t) == 2 })

	ends, n := make([]error, items), 0
	var tally client.JobTally
	for item := range client.Job[int](t.Context(), c.dial(t), "first", "next", numbers(items), client.JobThen("second", "next"), client.JobCount(&tally)) {
		if n++; n == items/4 {
			one.kill()
		}
		if item.Err == nil && item.Result != item.Arg+2 {
			t.Errorf("%+v", item)
		}
		ends[item.Index] = item.Err
	}
	runs := ledgerOf(t, ledger)
	unknown := map[string]int{}
	for i, err := range ends {
		first, second := runs["first"][i], runs["second"][i+1]
		switch {
		case err == nil:
			if first != 1 || second != 1 {
				t.Errorf("item %d has a result, its stages ran %d and %d times", i, first, second)
			}
		case !errors.Is(err, session.Unknown) || !errors.Is(err, client.ErrWorkerLost):
			t.Errorf("item %d: %v", i, err)
		case contains(err.Error(), `pool "first"`):
			if unknown["first"]++; first > 1 || second != 0 {
				t.Errorf("%v: its stages ran %d and %d times", err, first, second)
			}
		default:
			if unknown["second"]++; first != 1 || second > 1 || !contains(err.Error(), `pool "second"`) {
				t.Errorf("%v: its stages ran %d and %d times", err, first, second)
			}
		}
	}
	got, lost := tally.Counts(), unknown["first"]+unknown["second"]
	if n != items || got.Done != items-lost || got.Unknown != lost || unknown["first"] > slots || unknown["second"] > slots {
		t.Errorf("%d ends of %d items, unknown %v; counted %+v", n, items, unknown, got)
	}
	t.Logf("of %d items unknown by stage: %v; %d were tried again; %.0f items/s", items, unknown, got.Retried, got.Rate)
}
