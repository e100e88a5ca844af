package main

import (
	"context"
	"encoding/binary"
	"fmt"
)

// pinned are the worker's sessions where a peer has none of its own: a goroutine
// each, which runs every call of its session, as Limpet's does. The caller's
// number in the body says which session a call belongs to, so that no peer pays
// for carrying it.
type pinned []chan task

// task is a call on its way through its session's goroutine.
type task struct {
	body []byte
	from asker
}

// asker gets the reply, on the session's goroutine.
type asker interface{ answer(reply []byte) }

// newPinned starts n sessions, which end with ctx.
func newPinned(ctx context.Context, n int) pinned {
	sessions := make(pinned, n)
	for i := range sessions {
		calls := make(chan task, 1)
		sessions[i] = calls
		go func() {
			for {
				select {
				case t := <-calls:
					t.from.answer(t.body)
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return sessions
}

// give passes a call to its session. It blocks only where a caller does not wait
// for its replies.
func (p pinned) give(body []byte, from asker) error {
	n, err := callerOf(body, len(p))
	if err == nil {
		p[n] <- task{body, from}
	}
	return err
}

// callerOf reads the caller's number that loop writes into each body.
func callerOf(body []byte, callers int) (int, error) {
	if len(body) < minBody {
		return 0, fmt.Errorf("a body of %d bytes", len(body))
	}
	n := binary.LittleEndian.Uint64(body)
	if n >= uint64(callers) {
		return 0, fmt.Errorf("a body of caller %d of %d", n, callers)
	}
	return int(n), nil
}

// waiter is an asker that a goroutine waits on.
type waiter chan []byte

func (w waiter) answer(reply []byte) { w <- reply } // holds one: never blocks

// ask gives a call to its session and waits for the reply. Server frameworks run
// handlers on goroutines of their own; this is how one reaches the session's.
func (p pinned) ask(ctx context.Context, body []byte) ([]byte, error) {
	w := make(waiter, 1)
	if err := p.give(body, w); err != nil {
		return nil, err
	}
	select {
	case reply := <-w:
		return reply, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
