package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/limpet-rpc/limpet/worker"
)

// poolOf is the pool that a node serves under that name.
//
//	count, busy  a counter: add, get; name says who serves it, blob(n) returns n bytes
//	note         note(n) notes n in the file NOTES as its first act
//	slow         its Open goes on until nobody wants the session any more, and fails
//	stubborn     the same, but it opens all the same
func poolOf(name string, slots int, lease time.Duration) (worker.Served, error) {
	switch name {
	case "count", "busy":
		return countPool(name, slots, lease), nil
	case "note":
		return notePool(slots, lease)
	case "slow":
		return slowPool(name, slots, lease, openForEver), nil
	case "stubborn":
		return slowPool(name, slots, lease, openAnyway), nil
	}
	return nil, fmt.Errorf("no pool %q", name)
}

func countPool(name string, slots int, lease time.Duration) *worker.Pool[*int] {
	p := worker.NewPool(worker.Config[*int]{
		Pool: name, Slots: slots, Lease: lease,
		Open: func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.Handle(p, "add", func(_ context.Context, n *int, by int) (int, error) {
		*n += by
		return *n, nil
	})
	worker.Handle(p, "get", func(_ context.Context, n *int, _ int) (int, error) { return *n, nil })
	worker.Handle(p, "blob", func(_ context.Context, _ *int, size int) ([]byte, error) { return make([]byte, size), nil })
	worker.Handle(p, "name", func(ctx context.Context, _ *int, _ int) (string, error) {
		_, name := worker.SessionFrom(ctx).Node()
		return name, nil
	})
	return p
}

func slowPool(name string, slots int, lease time.Duration, open func(context.Context, *worker.Session) (int, error)) *worker.Pool[int] {
	p := worker.NewPool(worker.Config[int]{
		Pool: name, Slots: slots, Lease: lease, Open: open,
		Close: func(_ int, why error) { fmt.Println("closed", why) },
	})
	worker.Handle(p, "get", func(_ context.Context, n, _ int) (int, error) { return n, nil })
	return p
}

// openForEver says that it has begun.
func openForEver(ctx context.Context, _ *worker.Session) (int, error) {
	fmt.Println("opening")
	<-ctx.Done()
	fmt.Println("given up")
	return 0, errors.New("nobody wants it")
}

// openAnyway opens whether it is still wanted or not.
func openAnyway(ctx context.Context, _ *worker.Session) (int, error) {
	fmt.Println("opening")
	<-ctx.Done()
	fmt.Println("unwanted")
	return 0, nil
}

func notePool(slots int, lease time.Duration) (*worker.Pool[string], error) {
	f, err := os.OpenFile(os.Getenv("NOTES"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := worker.NewPool(worker.Config[string]{
		Pool: "note", Slots: slots, Lease: lease,
		Open: func(_ context.Context, s *worker.Session) (string, error) { return s.ID().String(), nil },
	})
	worker.Handle(p, "note", func(_ context.Context, id string, n int) (int, error) {
		if _, err := fmt.Fprintln(f, id, n); err != nil {
			return 0, err
		}
		time.Sleep(millis("PAUSE"))
		return n, nil
	})
	return p, nil
}
