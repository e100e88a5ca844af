package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/limpet-rpc/limpet/internal/jsontext"
	"github.com/limpet-rpc/limpet/worker"
)

// nextMethod is the notification by which a child says, before it answers, where
// its call goes on. What it answers then is not looked at, unless it is an error.
const nextMethod = "$/next"

// next is its params: one place, or branches and where they meet.
type next struct {
	Pool     string          `json:"pool"`
	Method   string          `json:"method"`
	Arg      json.RawMessage `json:"arg"`
	Branches []nextBranch    `json:"branches"`
	Join     *nextPlace      `json:"join"`
}

type nextBranch struct {
	Name   string          `json:"name"`
	Pool   string          `json:"pool"`
	Method string          `json:"method"`
	Arg    json.RawMessage `json:"arg"`
}

type nextPlace struct {
	Pool   string `json:"pool"`
	Method string `json:"method"`
}

// onward is what a call ends with that goes on so: a worker.Onward, or what is
// wrong with the params.
func onward(params []byte) error {
	var n next
	in := json.NewDecoder(bytes.NewReader(params))
	in.DisallowUnknownFields() // a name that is not known is a step that is not made
	if err := in.Decode(&n); err != nil {
		return fmt.Errorf("params of %s: %w", nextMethod, err)
	}
	if err := n.check(); err != nil {
		return fmt.Errorf("params of %s: %w", nextMethod, err)
	}
	if n.Branches == nil {
		arg, err := argOf(n.Arg)
		if err != nil {
			return fmt.Errorf("params of %s: arg: %w", nextMethod, err)
		}
		return worker.Next(n.Pool, n.Method, arg)
	}
	var all []worker.Branch
	for i, b := range n.Branches {
		arg, err := argOf(b.Arg)
		if err != nil {
			return fmt.Errorf("params of %s: arg of branch %d: %w", nextMethod, i+1, err)
		}
		all = append(all, worker.Branch{Name: b.Name, Pool: b.Pool, Method: b.Method, Arg: arg})
	}
	fan := worker.Fan(all...)
	if n.Join == nil {
		return fan
	}
	return fan.Join(n.Join.Pool, n.Join.Method)
}

// check finds what package worker would not see.
func (n *next) check() error {
	one := n.Pool != "" || n.Method != "" || n.Arg != nil
	switch {
	case one && n.Branches != nil:
		return errors.New("a pool of its own and branches: want one of them")
	case n.Join != nil && n.Branches == nil:
		return errors.New("join without branches")
	case n.Join != nil && (n.Join.Pool == "" || n.Join.Method == ""):
		return errors.New("join: want a pool and a method")
	}
	return nil
}

// argOf is a step's argument; none is nil.
func argOf(text json.RawMessage) (worker.Body, error) {
	if len(text) == 0 {
		text = json.RawMessage("null")
	}
	packed, err := jsontext.AppendPacked(nil, text)
	return worker.Body{Bytes: packed}, err
}
