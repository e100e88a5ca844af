package tests

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// python starts one of the programs in tests/python, which are written from
// docs/protocol.md and know nothing of this repository's Go.
func python(t *testing.T, program string, args ...string) *child {
	t.Helper()
	const interpreter = "/usr/bin/python3"
	if out, err := exec.Command(interpreter, "-c", "import zmq, msgpack").CombinedOutput(); err != nil {
		t.Skipf("%s with zmq and msgpack is missing (scripts/deps.sh installs it): %v %s", interpreter, err, out)
	}
	files, err := filepath.Glob("python/*.py")
	if err != nil || len(files) == 0 {
		t.Fatal("no programs in tests/python: ", err)
	}
	for _, file := range files { // read here, so that a cached result is of these very programs
		if _, err := os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(interpreter, append([]string{"-u", "-B", filepath.Join("python", program)}, args...)...)
	return startCommand(t, cmd)
}

// A Python program opens with a plain REQ socket, calls over a DEALER, every
// call twice, and closes.
func TestPythonClient(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	y := newTally("tally", 1)
	c.serve(t, worker.Options{Name: "gopher"}, y.pool)
	p := python(t, "client.py", c.url, "200")
	for _, want := range []struct{ word, rest string }{
		{"refused", "6"},
		{"error", "3"},
		{"opened", "True gopher"},
		{"counted", "200"},
		{"answers", `fail 60: broken mast | fail 5: pool "tally" has no method "nope" | `},
		{"closed", "0 22"},
		{"after", "fail 22: closed by its holder"},
	} {
		got := p.says(want.word)
		if want.word == "closed" && got == "0 0" { // the second Close met the end of the first
			got = want.rest
		}
		if got != want.rest && (want.word != "answers" || !contains(got, want.rest+"fail 4: ")) {
			t.Errorf("%s %s, want %s", want.word, got, want.rest)
		}
	}
	p.leave()
	if n := y.ran.Load(); n != 201 {
		t.Errorf("%d methods ran, want 201: each call once", n)
	}
	eventually(t, "the slot is free", func() bool { return c.pool(t, "tally").Free == 1 })
}

// A Python program serves a pool as a node, called from Go: its sessions keep
// their own state, wait for its slots, and end with it.
func TestPythonNode(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	p := python(t, "node.py", c.url)
	eventually(t, "the node is registered", func() bool { return c.nodes(t) == 1 })
	cl := c.dial(t)
	var all sync.WaitGroup
	for lane := range 4 { // over two slots
		all.Go(func() {
			s, err := cl.Open(t.Context(), "tally")
			if err != nil {
				t.Error(err)
				return
			}
			for n := range 100 {
				if got, err := client.Call[int](t.Context(), s, "add", lane); err != nil || got != lane*(n+1) {
					t.Errorf("call %d: %d, %v; want %d", n+1, got, err, lane*(n+1))
					return
				}
			}
			if got, err := client.Call[[]any](t.Context(), s, "where", 0); err != nil || len(got) != 3 || got[0] != s.ID().String() {
				t.Errorf("where: %v, %v; want session %s", got, err, s.ID())
			}
			closeSession(t, s)
		})
	}
	all.Wait()
	s, other := open(t, cl, "tally"), open(t, cl, "tally")
	if r := s.Route(); r.NodeName != "snake" || r.PID != p.pid() {
		t.Errorf("the route names node %s, process %d; want snake, %d", r.NodeName, r.PID, p.pid())
	}
	if _, err := call[int](t, s, "fail", "broken mast"); !errors.Is(err, session.ErrMethod) || !contains(err.Error(), "broken mast") {
		t.Errorf("its own error: %v", err)
	}
	if _, err := call[int](t, s, "nope", 1); !errors.Is(err, session.ErrMethodUnknown) {
		t.Errorf("unknown method: %v", err)
	}
	waiting := openLater(t.Context(), cl, "tally")
	await(t, waiting.queued, "a place")
	closeSession(t, other)
	o := await(t, waiting.done, "the slot")
	if o.err != nil {
		t.Fatal(o.err)
	}
	if n := mustCall[int](t, o.session, "add", 5); n != 5 {
		t.Errorf("a fresh session counts to %d, want 5", n)
	}
	p.leave()
	for _, s := range []*client.Session{s, o.session} {
		if _, err := call[int](t, s, "add", 1); !errors.Is(err, session.ErrWorkerLost) {
			t.Errorf("after its node has left: %v, want worker lost", err)
		}
	}
	eventually(t, "the node is gone from the status", func() bool { return c.nodes(t) == 0 })
}
