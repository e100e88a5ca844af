package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// here is where a call ran.
type here struct {
	Arg     int
	Session string
	PID     int
	Thread  int
}

// place is a pool whose method says where it ran.
func place(name string, slots int) *worker.Pool[int] {
	p := worker.NewPool(worker.Config[int]{
		Pool: name, Slots: slots, LockThread: true, CheckThread: true,
		Open: func(context.Context, *worker.Session) (int, error) { return worker.ThreadID(), nil },
	})
	worker.Handle(p, "where", func(ctx context.Context, opened, arg int) (here, error) {
		if opened != worker.ThreadID() {
			return here{}, fmt.Errorf("opened on thread %d, called on %d", opened, worker.ThreadID())
		}
		return here{arg, worker.SessionFrom(ctx).ID().String(), os.Getpid(), worker.ThreadID()}, nil
	})
	return p
}

// TestTenClientsOverTwoPools is ten goroutines over two pools of three slots,
// a thousand calls each: four have to wait for a slot, every reply is right,
// and within a session all of them name the same process and thread.
func TestTenClientsOverTwoPools(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, place("a", 3), place("b", 3))
	cl := c.dial(t)

	const clients, calls = 10, 1000
	var all sync.WaitGroup
	waited := make(chan bool, clients)
	sixOpen := make(chan struct{})
	var opened sync.WaitGroup
	opened.Add(6)
	go func() { opened.Wait(); close(sixOpen) }()
	for i := range clients {
		all.Go(func() {
			pool := []string{"a", "b"}[i%2]
			queued := false
			s, err := cl.Open(t.Context(), pool, client.WithPlace(func(int) { queued = true }))
			if err != nil {
				t.Error(err)
				opened.Done()
				return
			}
			waited <- queued
			if !queued {
				opened.Done()
				<-sixOpen // so that the other four really have to wait
			}
			thousandCalls(t, s, calls)
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(waited)
	n := 0
	for q := range waited {
		if q {
			n++
		}
	}
	if n != 4 {
		t.Errorf("%d clients waited for a slot, want 4", n)
	}
}

func thousandCalls(t *testing.T, s *client.Session, calls int) {
	t.Helper()
	var first here
	for n := range calls {
		h, err := client.Call[here](t.Context(), s, "where", n)
		if err != nil {
			t.Error(err)
			return
		}
		if n == 0 {
			first = h
		}
		if h.Arg != n || h.Session != s.ID().String() || h.PID != first.PID || h.Thread != first.Thread {
			t.Errorf("call %d of session %s: %+v, the first was %+v", n, s.ID(), h, first)
			return
		}
	}
}

// TestBadCalls is a call on a session that is closed, one with another's key,
// a method and a pool that do not exist, an argument that does not decode.
func TestBadCalls(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	c.serve(t, worker.Options{}, place("a", 2))
	cl := c.dial(t)
	s, err := cl.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		err  error
		want error
	}{
		{"unknown pool", func() error { _, err := cl.Open(t.Context(), "nope"); return err }(), session.ErrPoolUnknown},
		{"unknown method", s.Call(t.Context(), "nope", 1, nil), session.ErrMethodUnknown},
		{"bad argument", s.Call(t.Context(), "where", "a string", nil), session.ErrBadArgument},
		{"closed", func() error {
			if err := s.Close(t.Context()); err != nil {
				return err
			}
			return s.Call(t.Context(), "where", 1, nil)
		}(), session.ErrSessionClosed},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, test.err, test.want)
		}
	}
}
