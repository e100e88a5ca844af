package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/vmihailenco/msgpack/v5"
)

// MaxBranches bounds the steps of a Next.
const MaxBranches = 256

// Next is the body of a reply with FlagNext: where the work goes on.
type Next struct {
	Steps []NextStep `msgpack:"steps"`
	Join  NextPlace  `msgpack:"join,omitempty"` // zero: the caller gets the results of several steps
}

// NextStep is one call that is to be made.
type NextStep struct {
	Pool   string `msgpack:"pool"`
	Method string `msgpack:"method"`
	Args   []byte `msgpack:"args"`
	Raw    bool   `msgpack:"raw,omitempty"`
	Name   string `msgpack:"name,omitempty"` // of a branch
}

// NextPlace is where branches meet.
type NextPlace struct {
	Pool   string `msgpack:"pool"`
	Method string `msgpack:"method"`
}

// Zero reports that there is none.
func (p NextPlace) Zero() bool { return p == NextPlace{} }

// Single reports that the one step is the whole way on, and no branch.
func (n *Next) Single() bool { return len(n.Steps) == 1 && n.Steps[0].Name == "" && n.Join.Zero() }

// Check says what is wrong with a next.
func (n *Next) Check() error {
	if len(n.Steps) == 0 {
		return errNoSteps
	}
	if len(n.Steps) > MaxBranches {
		return fmt.Errorf("%d steps, at most %d", len(n.Steps), MaxBranches)
	}
	if !n.Join.Zero() {
		if err := place(n.Join.Pool, n.Join.Method); err != nil {
			return fmt.Errorf("join: %w", err)
		}
	}
	seen := map[string]bool{}
	for i, s := range n.Steps {
		if err := first(place(s.Pool, s.Method), short("name", s.Name, MaxName)); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
		if n.Single() {
			break
		}
		if s.Name == "" || seen[s.Name] {
			return fmt.Errorf("step %d is a branch named %q: every branch has a name of its own", i+1, s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

var errNoSteps = errors.New("no steps")

func place(pool, method string) error { return first(name("pool", pool), name("method", method)) }

// AppendNext appends the body of a reply with FlagNext.
func AppendNext(dst []byte, n *Next) ([]byte, error) {
	if err := n.Check(); err != nil {
		return dst, err
	}
	fields := []any{"steps", n.Steps}
	if !n.Join.Zero() {
		fields = append(fields, "join", n.Join)
	}
	buf := bytes.NewBuffer(dst)
	enc := msgpack.NewEncoder(buf)
	err := enc.EncodeMapLen(len(fields) / 2)
	for _, f := range fields {
		if err == nil {
			err = enc.Encode(f)
		}
	}
	return buf.Bytes(), err
}

// ParseNext reads one. Its strings and arguments are copies.
func ParseNext(body []byte) (*Next, error) {
	if err := shape(body, reflect.TypeFor[Next]()); err != nil {
		return nil, err
	}
	n := new(Next)
	if err := msgpack.NewDecoder(bytes.NewReader(body)).Decode(n); err != nil {
		return nil, err
	}
	return n, n.Check()
}
