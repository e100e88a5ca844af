package program_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
	"github.com/limpet-rpc/limpet/worker/program"
)

// long bounds what must happen sooner or later.
const long = 2 * time.Minute

// logged is a log to be looked through.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// stage is a broker, a node with a pool of programs, and a client.
type stage struct {
	t      *testing.T
	client *client.Client
	log    *logged
}

// newStage serves the test binary, which starts as how says, as a program.
func newStage(t *testing.T, how string, change func(*program.Config)) *stage {
	t.Helper()
	st := &stage{t: t, log: new(logged)}
	quiet := slog.New(slog.DiscardHandler)
	b, err := broker.New(broker.Options{Listen: "tcp://127.0.0.1:0", Recovery: time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	config := program.Config{
		Pool: "play", Slots: 4, Command: []string{os.Args[0]}, Settle: long,
		Env:    []string{actVariable + "=" + how, "GORACE=atexit_sleep_ms=0"},
		Logger: slog.New(slog.NewTextHandler(st.log, nil)),
	}
	if change != nil {
		change(&config)
	}
	pool, err := program.NewPool(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	run := func(part func() error) {
		parts.Go(func() {
			if err := part(); err != nil {
				t.Error(err)
			}
		})
	}
	brokerCtx, stopBroker := context.WithCancel(context.Background())
	var brokers sync.WaitGroup
	brokers.Go(func() { _ = b.Run(brokerCtx) })
	run(func() error {
		return worker.Serve(ctx, worker.Options{Broker: b.Endpoint(), Records: "off", Logger: quiet}, pool)
	})
	dialing, done := context.WithTimeout(ctx, long)
	defer done()
	st.client, err = client.Dial(dialing, b.Endpoint(), client.WithLogger(quiet))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = st.client.Close() // sessions that a test left open end with their node
		cancel()
		parts.Wait()
		stopBroker()
		brokers.Wait()
	})
	for pools := 0; pools == 0; time.Sleep(time.Millisecond) {
		s, err := b.Status(dialing)
		if err != nil {
			t.Fatal(err)
		}
		pools = len(s.Pools)
	}
	return st
}

func (st *stage) open() *client.Session {
	st.t.Helper()
	s, err := st.tryOpen()
	if err != nil {
		st.t.Fatal(err)
	}
	return s
}

func (st *stage) tryOpen() (*client.Session, error) {
	ctx, cancel := context.WithTimeout(st.t.Context(), long)
	defer cancel()
	return st.client.Open(ctx, "play")
}

func call[R any](t *testing.T, s *client.Session, method string, arg any) (R, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	return client.Call[R](ctx, s, method, arg)
}

func must[R any](t *testing.T, s *client.Session, method string, arg any) R {
	t.Helper()
	r, err := call[R](t, s, method, arg)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return r
}

func closeSession(t *testing.T, s *client.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// died checks the end of a session whose child died: the call, and those after
// it.
func died(t *testing.T, s *client.Session, err error, outcome session.Outcome, parts ...string) {
	t.Helper()
	e, ok := errors.AsType[*session.Error](err)
	if !ok || e.Code != session.ErrWorkerDied || e.Outcome != outcome {
		t.Fatalf("it ended with %v, want worker died, %v", err, outcome)
	}
	for _, part := range parts {
		if !strings.Contains(e.Text, part) {
			t.Errorf("the text lacks %q: %s", part, e.Text)
		}
	}
	if _, err := call[int](t, s, "add", 1); !errors.Is(err, session.ErrWorkerDied) || !errors.Is(err, session.NotRun) {
		t.Errorf("a later call: %v, want worker died, not run", err)
	}
	nobody(t, s.ID())
}

// processes are the ids of those that a session has left, whoever started
// them: its id is in their environment.
func processes(id session.ID) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		environ, err := os.ReadFile(path) // empty for a zombie
		if err == nil && strings.Contains(string(environ), "LIMPET_SESSION="+id.String()) {
			found = append(found, filepath.Base(filepath.Dir(path)))
		}
	}
	return found
}

func nobody(t *testing.T, id session.ID) {
	t.Helper()
	eventually(t, "nothing is left of session "+id.String(), func() bool { return len(processes(id)) == 0 })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(long); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
