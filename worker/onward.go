package worker

import (
	"fmt"
	"strings"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Onward is where a handler's work goes on: to a method of another pool, or of
// its own, or to several at once. A handler of any kind returns it as its error,
// in the place of a result, as a function of filepath.WalkDir returns SkipDir:
//
//	worker.Handle(p, "parse", func(ctx context.Context, _ state, text string) (report, error) {
//		if text == "" {
//			return report{}, nil // an early finish
//		}
//		return report{}, worker.Next("square", "run", numbersIn(text))
//	})
//
// The call is done with it, and its caller's client goes on, under the deadline,
// the cancellation and the hop limit of that call; whoever called gets the last
// step's result. Where a pool or method does not exist, the caller is told which.
type Onward struct {
	next wire.Next
	err  error // an argument that does not encode
}

// Next goes on with one method of one pool. The argument is encoded as a
// client's is: MessagePack, a []byte or a Body as it is.
func Next(pool, method string, arg any) *Onward {
	o := &Onward{}
	o.add(Branch{Pool: pool, Method: method, Arg: arg})
	return o
}

// Branch is one of several steps that are made at once. Names tell their results
// apart.
type Branch struct {
	Name, Pool, Method string
	Arg                any
}

// Fan goes on with up to 256 branches at once. Their results, by name, are the
// result of the call as one map, unless Join says otherwise. If a branch fails,
// so does the whole, with an error that names the branch, and the others are
// cancelled.
func Fan(branches ...Branch) *Onward {
	o := &Onward{}
	for _, b := range branches {
		o.add(b)
	}
	if o.next.Single() {
		o.fail(fmt.Errorf("a branch to %s.%s has no name", branches[0].Pool, branches[0].Method))
	}
	return o
}

// Join has the map of the branches' results be the argument of one more step,
// whose result is that of the call.
func (o *Onward) Join(pool, method string) *Onward {
	o.next.Join = wire.NextPlace{Pool: pool, Method: method}
	return o
}

func (o *Onward) add(b Branch) {
	args, raw, err := codec.Append(nil, b.Arg)
	if err != nil {
		o.fail(fmt.Errorf("encode the argument of %s.%s: %w", b.Pool, b.Method, err))
	}
	o.next.Steps = append(o.next.Steps, wire.NextStep{Pool: b.Pool, Method: b.Method, Args: args, Raw: raw, Name: b.Name})
}

func (o *Onward) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// Error names the steps, for logs: a handler's own code may take it for what it
// returned, a failure.
func (o *Onward) Error() string {
	var to []string
	for _, s := range o.next.Steps {
		to = append(to, s.Pool+"."+s.Method)
	}
	return "goes on with " + strings.Join(to, ", ")
}

// reply is how the call ends that goes on so. What cannot be is its method's
// error.
func (o *Onward) reply() session.Reply {
	err := o.err
	var body []byte
	if err == nil {
		body, err = wire.AppendNext(nil, &o.next)
	}
	if err != nil {
		return failure(session.ErrMethod, session.Done, "next step: "+err.Error(), "")
	}
	return sized(session.Reply{Next: true, Body: body})
}
