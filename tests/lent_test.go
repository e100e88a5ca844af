package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// library keeps what it is given, in every form that a handler may keep.
type library struct {
	pool *worker.Pool[struct{}]
	mu   sync.Mutex
	kept [][]byte
}

func newLibrary() *library {
	l := &library{pool: worker.NewPool(worker.Config[struct{}]{Pool: "library", Slots: 4})}
	worker.Handle(l.pool, "bytes", func(_ context.Context, _ struct{}, arg []byte) ([]byte, error) { return l.keep(arg), nil })
	worker.Handle(l.pool, "any", func(_ context.Context, _ struct{}, arg any) ([]byte, error) { return l.keep(arg.([]byte)), nil })
	worker.Handle(l.pool, "body", func(_ context.Context, _ struct{}, arg worker.Body) ([]byte, error) { return l.keep(arg.Bytes), nil })
	worker.Handle(l.pool, "text", func(_ context.Context, _ struct{}, arg string) (string, error) {
		return string(l.keep([]byte(arg))), nil
	})
	worker.Handle(l.pool, "lent", func(_ context.Context, _ struct{}, arg worker.Lent) (worker.Lent, error) { return arg, nil })
	worker.Handle(l.pool, "larger", func(_ context.Context, _ struct{}, arg worker.Lent) ([]byte, error) {
		return bytes.Repeat(arg, 3<<20/len(arg)), nil
	})
	worker.Handle(l.pool, "next", func(_ context.Context, _ struct{}, arg worker.Lent) ([]byte, error) {
		return nil, worker.Next("library", "bytes", arg)
	})
	worker.Handle(l.pool, "reader", func(_ context.Context, _ struct{}, arg io.Reader) ([]byte, error) { return io.ReadAll(arg) })
	worker.Handle(l.pool, "fail", func(_ context.Context, _ struct{}, arg worker.Lent) ([]byte, error) {
		return nil, errors.New(string(arg))
	})
	worker.HandleAny(l.pool, func(_ context.Context, _ struct{}, _ string, arg worker.Body) (worker.Body, error) {
		return worker.Body{Bytes: l.keep(arg.Bytes), Raw: true}, nil
	})
	return l
}

func (l *library) keep(b []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, b)
	return b
}

// What a handler or a caller may keep is as it was after much else has gone through
// the same memory.
func TestWhatIsKeptStays(t *testing.T) {
	c := newCell(t, broker.Options{})
	l := newLibrary()
	c.serve(t, worker.Options{}, l.pool)
	for name, opts := range map[string][]client.Option{"direct": nil, "relayed": {client.WithRelayOnly()}} {
		t.Run(name, func(t *testing.T) {
			cl := c.dial(t, opts...)
			s := open(t, cl, "library")
			defer closeSession(t, s)
			l.kept = nil
			var sent, got [][]byte
			for i := range 400 {
				body := bytes.Repeat([]byte(fmt.Sprintf("%d:", i)), 1+i*7%500)
				sent = append(sent, body)
				var b []byte
				var err error
				switch i % 9 {
				case 0:
					b, err = client.Call[[]byte](t.Context(), s, "bytes", body)
				case 1:
					err = s.Call(t.Context(), "any", body, &b)
				case 2:
					var v any
					err = s.Call(t.Context(), "body", body, &v)
					b, _ = v.([]byte)
				case 3:
					var v client.Body
					err = s.Call(t.Context(), "whatever", body, &v)
					b = v.Bytes
				case 4:
					err = s.Go(t.Context(), "bytes", body).Wait(&b)
				case 5:
					b, err = client.Do[[]byte](t.Context(), cl, "library", "any", body)
				case 6:
					var text string
					err = s.Call(t.Context(), "text", string(body), &text)
					b = []byte(text)
				case 7:
					var other *client.Session
					if other, err = cl.OpenCall(t.Context(), "library", "bytes", body, &b); err == nil {
						err = other.Close(t.Context())
					}
				case 8:
					b, err = client.Call[[]byte](t.Context(), s, "next", body)
				}
				if err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
				got = append(got, b)
			}
			for i := range sent {
				if !bytes.Equal(got[i], sent[i]) {
					t.Errorf("result %d has changed: %.40q, sent %.40q", i, got[i], sent[i])
				}
				if !bytes.Equal(l.kept[i], sent[i]) {
					t.Errorf("argument %d has changed: %.40q, sent %.40q", i, l.kept[i], sent[i])
				}
			}
		})
	}
}

// AppendCall appends whatever form a result comes in, and where it fails leaves what
// was there.
func TestAppendCall(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newLibrary().pool)
	for name, opts := range map[string][]client.Option{"direct": nil, "relayed": {client.WithRelayOnly()}} {
		t.Run(name, func(t *testing.T) {
			cl := c.dial(t, opts...)
			s := open(t, cl, "library")
			defer closeSession(t, s)
			dst := append(make([]byte, 0, 4096), "before"...)
			arg := []byte("argument")
			for _, test := range []struct {
				method string
				arg    []byte
				want   []byte
				opts   []client.CallOption
			}{
				{"lent", arg, arg, nil},
				{"bytes", arg, arg, nil},
				{"reader", arg, arg, nil},
				{"next", arg, arg, nil},
				{"lent", nil, nil, nil},
				{"lent", bytes.Repeat(arg, 1000), bytes.Repeat(arg, 1000), nil}, // for which dst has no room
				{"lent", bytes.Repeat(arg, 300_000), bytes.Repeat(arg, 300_000), nil},
				{"larger", arg, bytes.Repeat(arg, 3<<20/len(arg)), nil},
				{"lent", arg, arg, []client.CallOption{client.WithChecksum()}},
			} {
				got, err := s.AppendCall(t.Context(), dst, test.method, test.arg, test.opts...)
				if want := slices.Concat(dst, test.want); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s of %d bytes: %d bytes %.40q, %v", test.method, len(test.arg), len(got), got, err)
				}
				if room := len(dst)+len(test.want) <= cap(dst); err == nil && test.method == "lent" && test.opts == nil && room != (&got[0] == &dst[0]) {
					t.Errorf("%d bytes: in dst's memory %t", len(test.want), !room)
				}
			}
			got, err := s.AppendCall(t.Context(), dst, "fail", arg)
			if !errors.Is(err, session.ErrMethod) || !contains(err.Error(), "argument") || string(got) != "before" {
				t.Errorf("%q, %v", got, err)
			}
			ended, end := context.WithCancel(t.Context())
			end()
			if got, err := s.AppendCall(ended, dst, "lent", arg); !errors.Is(err, context.Canceled) || string(got) != "before" {
				t.Errorf("under a context that has ended: %q, %v", got, err)
			}
		})
	}
}

// The memory of an AppendCall is its caller's once it has returned, also where it was
// given up: the race detector sees whoever else writes to it.
func TestAppendCallGivenUp(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newLibrary().pool)
	cl := c.dial(t)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			s := open(t, cl, "library")
			defer closeSession(t, s)
			dst, arg := make([]byte, 0, 4096), make([]byte, 512)
			for i := range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				got, err := s.AppendCall(ctx, dst, "lent", arg)
				switch {
				case err == nil && !bytes.Equal(got, arg):
					t.Errorf("%q, want %q", got, arg)
				case err != nil && !errors.Is(err, context.Canceled):
					t.Error(err)
				}
				for j := range arg {
					arg[j] = byte(i)
				}
				clear(dst[:cap(dst)])
			}
		})
	}
	callers.Wait()
}

// Replies that come in blocks, many at once, are each as it was sent.
func TestRepliesInBlocksAreNotMixed(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newLibrary().pool)
	for name, opts := range map[string][]client.Option{"direct": nil, "relayed": {client.WithRelayOnly()}} {
		t.Run(name, func(t *testing.T) {
			cl := c.dial(t, opts...)
			var callers sync.WaitGroup
			for caller := range 4 {
				s := open(t, cl, "library")
				callers.Go(func() {
					defer closeSession(t, s)
					var reply []byte
					for i := range 60 {
						arg := bytes.Repeat([]byte{byte(caller), byte(i), 0xff}, 25_000+10_000*(i%5))
						var err error
						if reply, err = s.AppendCall(t.Context(), reply[:0], "lent", arg); err != nil || !bytes.Equal(reply, arg) {
							t.Errorf("call %d of %d: another %d bytes than the %d that were sent, %v", i, caller, len(reply), len(arg), err)
							return
						}
					}
				})
			}
			callers.Wait()
		})
	}
}
