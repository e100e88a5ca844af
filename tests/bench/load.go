package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LoadOrder is what the load role is asked to do: every caller calls in a closed
// loop, its next call right after the reply to its last.
type LoadOrder struct {
	WarmUp time.Duration `json:"warmup"`
	Window time.Duration `json:"window"`
	Size   int           `json:"size"` // bytes of a body, at least minBody
	Pids   []int         `json:"pids"` // processes whose CPU time and memory count, the client's own left out
}

// A window in which no call has ended is prolonged, by one look after the other.
const (
	emptyLook = 10 * time.Millisecond
	emptyMost = 20 * time.Second
)

// minBody holds the caller's number and the call's.
const minBody = 16

// Load is what was measured in the window.
type Load struct {
	Calls    int64
	Elapsed  time.Duration
	P50, P99 time.Duration
	CPU      []time.Duration // a process, in the order of Pids, the client last
	Resident []int64         // bytes a process at the end of the window, same order
}

// loadRole is the client process of every peer.
func loadRole(ctx context.Context, p *Process) error {
	peer, ok := peerNamed(p.Peer)
	if !ok {
		return fmt.Errorf("no peer %q", p.Peer)
	}
	load, err := driverOf(ctx, peer, p)
	if err != nil {
		return fmt.Errorf("dial %s: %w", p.Peer, err)
	}
	p.Answer("load", func(arg json.RawMessage) (any, error) {
		var order LoadOrder
		if err := json.Unmarshal(arg, &order); err != nil {
			return nil, err
		}
		return load(order)
	})
	p.Ready("")
	<-ctx.Done()
	return ctx.Err()
}

// driverOf is how a peer makes its load: itself, or by the callers that it dials.
func driverOf(ctx context.Context, peer Peer, p *Process) (func(LoadOrder) (Load, error), error) {
	if d, ok := peer.(Driver); ok {
		return func(order LoadOrder) (Load, error) { return d.Drive(ctx, p, order) }, nil
	}
	callers, err := peer.Dial(ctx, p)
	return func(order LoadOrder) (Load, error) { return drive(ctx, callers, order) }, err
}

// drive runs the closed loop and measures its window. One failed call or wrong
// reply fails the whole load: a rate that leaves out failures says nothing.
func drive(ctx context.Context, callers []Caller, order LoadOrder) (Load, error) {
	if order.Size < minBody {
		return Load{}, fmt.Errorf("a body has at least %d bytes, not %d", minBody, order.Size)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var tape recorder
	var running sync.WaitGroup
	for i, call := range callers {
		running.Go(func() {
			if err := loop(ctx, call, i, order.Size, &tape); err != nil {
				fail(fmt.Errorf("caller %d: %w", i, err))
			}
		})
	}
	load, err := window(ctx, order, &tape)
	tape.stop.Store(true)
	if err != nil {
		return load, err // callers that hang in a call end with the process
	}
	running.Wait()
	if err := context.Cause(ctx); err != nil {
		return load, err
	}
	if load.Calls == 0 {
		return load, errors.New("no call ended in the window")
	}
	return load, nil
}

// recorder is what the callers and the window share.
type recorder struct {
	histogram
	recording, stop atomic.Bool
}

// loop is one caller, of one call at least. The end of a call is the start of the
// next, so that a clock is read once a call.
func loop(ctx context.Context, call Caller, number, size int, tape *recorder) error {
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i)
	}
	binary.LittleEndian.PutUint64(body, uint64(number))
	began := time.Now()
	for n := uint64(0); n == 0 || !tape.stop.Load(); n++ {
		binary.LittleEndian.PutUint64(body[8:], n)
		reply, err := call(ctx, body)
		if err != nil {
			return fmt.Errorf("call %d: %w", n, err)
		}
		if !bytes.Equal(reply, body) {
			return fmt.Errorf("call %d: wrong reply of %d bytes: %x", n, len(reply), reply)
		}
		ended := time.Now()
		if tape.recording.Load() {
			tape.Add(ended.Sub(began))
		}
		began = ended
	}
	return nil
}

// window waits out the warm-up, then measures what tape records and what the
// processes use meanwhile.
func window(ctx context.Context, order LoadOrder, tape *recorder) (Load, error) {
	pids := slices.Concat(order.Pids, []int{os.Getpid()})
	if err := sleep(ctx, order.WarmUp); err != nil {
		return Load{}, err
	}
	before, err := cpuTimes(pids)
	if err != nil {
		return Load{}, err
	}
	began := time.Now()
	tape.recording.Store(true)
	err = sleep(ctx, order.Window)
	for waited := time.Duration(0); err == nil && tape.Count() == 0 && waited < emptyMost; waited += emptyLook { // a slow machine, a short window
		err = sleep(ctx, emptyLook)
	}
	if err != nil {
		return Load{}, err
	}
	tape.recording.Store(false)
	load := Load{Elapsed: time.Since(began), Calls: tape.Count()}
	if err := load.use(pids, before); err != nil {
		return load, err
	}
	load.P50, load.P99 = tape.Quantile(0.5), tape.Quantile(0.99)
	return load, nil
}

// use notes what the processes used since before, at the end of the window.
func (l *Load) use(pids []int, before []time.Duration) error {
	var err error
	if l.CPU, err = cpuTimes(pids); err != nil {
		return err
	}
	for i := range l.CPU {
		l.CPU[i] -= before[i]
	}
	for _, pid := range pids {
		rss, err := residentBytes(pid)
		if err != nil {
			return err
		}
		l.Resident = append(l.Resident, rss)
	}
	return nil
}

func cpuTimes(pids []int) ([]time.Duration, error) {
	times := make([]time.Duration, len(pids))
	for i, pid := range pids {
		var err error
		if times[i], err = cpuTime(pid); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// sleep returns the cause when ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
