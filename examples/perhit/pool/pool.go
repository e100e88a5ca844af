// Package pool is the worker's side of the example: one safe Tcl interpreter a
// session, made, used and deleted on the session's own OS thread.
package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/limpet-rpc/limpet/worker"

	"github.com/limpet-rpc/limpet/examples/perhit/calls"
	"github.com/limpet-rpc/limpet/examples/perhit/tcl"
)

// Options are the limits of a worker process and of every session in it.
type Options struct {
	Slots    int           // sessions at once, each on an OS thread of its own
	Time     time.Duration // the longest that one call may take
	Commands int32         // Tcl commands in a session's whole life
}

// New is the pool, ready for worker.Serve.
func New(o Options) *worker.Pool[*Interpreter] {
	p := worker.NewPool(worker.Config[*Interpreter]{
		Pool:        calls.Pool,
		Slots:       o.Slots,
		LockThread:  true, // the whole point: Tcl aborts the process otherwise
		CheckThread: true,
		Open: func(context.Context, *worker.Session) (*Interpreter, error) {
			return NewInterpreter(o)
		},
		Close: func(i *Interpreter, _ error) { i.Close() },
	})
	worker.Handle(p, calls.Set, set)
	worker.Handle(p, calls.Eval, eval)
	worker.Handle(p, calls.Collect, collect)
	return p
}

// Interpreter is the state of one session. It belongs to the session's thread.
type Interpreter struct {
	tcl   *tcl.Interp
	limit time.Duration
	calls int
}

// NewInterpreter makes a session's interpreter on the calling thread, which it
// stays on until Close.
func NewInterpreter(o Options) (*Interpreter, error) {
	t := tcl.New()
	if t == nil {
		return nil, errors.New("libtcl made no safe interpreter")
	}
	t.LimitCommands(o.Commands)
	return &Interpreter{tcl: t, limit: o.Time}, nil
}

// Close deletes the interpreter. It is called once, on the interpreter's thread;
// i may be nil where Open failed.
func (i *Interpreter) Close() {
	if i != nil {
		i.tcl.Close()
	}
}

// set gives a variable a value.
func set(ctx context.Context, i *Interpreter, v calls.Variable) (calls.Place, error) {
	i.begin(ctx)
	if err := i.tcl.SetVar(v.Name, v.Value); err != nil {
		return calls.Place{}, fmt.Errorf("set %q: %w", v.Name, err)
	}
	return here(), nil
}

// eval runs a script and keeps its value in the interpreter, where collect finds it
// if, and only if, it comes to the same one.
func eval(ctx context.Context, i *Interpreter, s calls.Script) (calls.Place, error) {
	i.begin(ctx)
	value, err := i.tcl.Eval(s.Script)
	if err != nil {
		return calls.Place{}, err
	}
	if err := i.tcl.SetVar(calls.ResultName, value); err != nil {
		return calls.Place{}, fmt.Errorf("keep the value of the script: %w", err)
	}
	return here(), nil
}

// collect reads variables back.
func collect(ctx context.Context, i *Interpreter, n calls.Names) (calls.Collected, error) {
	i.begin(ctx)
	names := n.Names
	if len(names) == 0 {
		names = []string{calls.ResultName}
	}
	values := make(map[string]string, len(names))
	for _, name := range names {
		value, err := i.tcl.GetVar(name)
		if err != nil {
			return calls.Collected{}, fmt.Errorf("collect %q: %w", name, err)
		}
		values[name] = value
	}
	return calls.Collected{Values: values, Place: here(), Calls: i.calls}, nil
}

// begin counts a call and gives Tcl what is left of the call's budget, at most the
// pool's own limit: a script cannot see a context.
func (i *Interpreter) begin(ctx context.Context) {
	i.calls++
	limit := i.limit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	i.tcl.LimitTime(limit)
}

// here is the process and the OS thread that the call runs on.
func here() calls.Place { return calls.Place{PID: os.Getpid(), Thread: worker.ThreadID()} }
