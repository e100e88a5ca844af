package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// lease is what the cells of this file give their clients: more than a slow
// machine takes to bring a beat.
const lease = 5 * time.Second

// leaseCell has one slot of each pool, all with that lease.
func leaseCell(t *testing.T) (*cell, *child) {
	t.Helper()
	ms := fmt.Sprint(lease.Milliseconds())
	c := newCell(t, "LEASE="+ms, "RECOVERY=1")
	return c, c.startNode("node", "count,busy,slow", 1, "POOL_LEASE="+ms)
}

// A client that is killed leaves three places: a session, one in a queue, one
// that a worker is just opening. All are free within the lease.
func TestPlacesOfAKilledClient(t *testing.T) {
	c, node := leaseCell(t)
	me := dial(t, c.url)
	busy := open(t, me, "busy")
	victim := start(t, "client", "BROKER="+c.url)
	victim.says("opened")
	node.says("opening")
	eventually(t, "the three places are taken", func() bool {
		r := c.broker.report()
		return r.pool("count").Open == 1 && r.pool("busy").Waiting == 1 && r.pool("slow").Offered == 1
	})
	next := make(chan error, 1)
	go func() { // behind the dead client in the queue, and served for it
		s, err := me.Open(context.Background(), "busy")
		if err == nil {
			err = closeSession(s)
		}
		next <- err
	}()
	eventually(t, "another one waits behind", func() bool { return c.broker.report().pool("busy").Waiting == 2 })

	victim.kill()
	took := eventually(t, "the three places are free", func() bool {
		r := c.broker.report()
		return r.pool("count").Free == 1 && r.pool("busy").Waiting == 1 && r.pool("slow").Free == 1
	})
	if soak() && took > lease+time.Second { // elsewhere the machine may be slower than the lease
		t.Errorf("%s after the kill, the lease is %s", took, lease)
	}
	t.Logf("all three places were free %s after the kill, the lease is %s", took.Round(time.Millisecond), lease)
	node.says("given") // Open was told that nobody wants it
	if err := closeSession(busy); err != nil {
		t.Error(err)
	}
	if err := await(t, next, "the slot for who waited behind"); err != nil {
		t.Error(err)
	}
	if n := mustCall[int](t, open(t, me, "count"), "add", 1); n != 1 {
		t.Errorf("the slot's next session begins at %d", n)
	}
}

// An open that is given up while a worker opens the session leaves none
// behind, also where the worker goes on and opens it: its lease would keep the
// slot for far longer than this test waits.
func TestOpenThatIsTakenBack(t *testing.T) {
	c := newCell(t, "RECOVERY=1")
	node := c.startNode("node", "stubborn", 1, "POOL_LEASE=3600000")
	cl := dial(t, c.url)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { _, err := cl.Open(ctx, "stubborn"); ended <- err }()
		node.says("opening")
		cancel()
		if err := await(t, ended, "the end of the open"); !errors.Is(err, session.NotRun) {
			t.Errorf("the open ended with %v", err)
		}
		node.says("unwanted")
		if why := node.says("closed"); !strings.Contains(why, "revoked") {
			t.Errorf("it was closed because: %s", why)
		}
		eventually(t, "its slot is free", func() bool { return c.broker.report().pool("stubborn").Free == 1 })
	}
}

// A client that is cut off for less than its lease notices a pause and nothing
// else: its session goes on, and so does its place in a queue.
func TestClientThatIsCutOff(t *testing.T) {
	c, _ := leaseCell(t)
	me := dial(t, c.url)
	busy := open(t, me, "busy")
	line := newProxy(t, "line", c.url)
	cl := dial(t, line.url())
	s := open(t, cl, "count")
	queued := make(chan struct{}, 1)
	waiting := make(chan error, 1)
	go func() {
		s, err := cl.Open(context.Background(), "busy", client.WithPlace(func(int) {
			select {
			case queued <- struct{}{}:
			default: // the first one is enough
			}
		}))
		if err == nil {
			_, err = call[int](s, "add", 1)
		}
		waiting <- err
	}()
	await(t, queued, "its place in the queue")

	var answers, slowest atomic.Int64
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- count(s, stop, &answers, &slowest) }()
	eventually(t, "calls are answered", func() bool { return answers.Load() > 10 })
	line.cut()
	at := answers.Load()
	time.Sleep(lease / 3) // how long it is cut off is what is tested
	if n := answers.Load(); n > at+1 {
		t.Errorf("%d calls were answered while the line was cut", n-at)
	}
	line.mend()
	at = answers.Load()
	eventually(t, "calls are answered again", func() bool { return answers.Load() > at+10 || len(stopped) > 0 })
	close(stop)
	if err := await(t, stopped, "the end of the calls"); err != nil {
		t.Errorf("a call ended with %v", err)
	}
	if err := closeSession(busy); err != nil {
		t.Error(err)
	}
	if err := await(t, waiting, "the session that was waited for"); err != nil {
		t.Errorf("the open that waited meanwhile: %v", err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("the session ended with %v", err)
	}
	t.Logf("cut off for %s of a lease of %s: %d calls in order, the longest pause %s",
		lease/3, lease, answers.Load(), time.Duration(slowest.Load()).Round(time.Millisecond))
}

// count counts up until stop, and wants every answer to be the next number.
func count(s *client.Session, stop chan struct{}, answers, slowest *atomic.Int64) error {
	for want := 1; ; want++ {
		select {
		case <-stop:
			return nil
		default:
		}
		began := time.Now()
		n, err := call[int](s, "add", 1)
		if err != nil {
			return err
		}
		if n != want {
			return errWrongCount
		}
		answers.Add(1)
		slowest.Store(max(slowest.Load(), int64(time.Since(began))))
	}
}
