package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// One large reply, from a worker process to a client process that drops it: by
// Limpet direct and relayed, by io.Copy over a TCP connection, and by a gRPC
// stream. Every sender writes the same megabyte again and again.

// largeWays are the ways, and the roles of their servers.
var largeWays = []struct {
	name    string
	servers []string
}{
	{"tcp", []string{"large/tcp"}},
	{"grpc-stream", []string{"large/grpc"}},
	{largeDirect, []string{"large/broker", "large/node"}},
	{largeRelayed, []string{"large/broker", "large/node"}},
}

const (
	largeDirect  = "limpet-direct"
	largeRelayed = "limpet-relayed"
	largePiece   = 1 << 20
	largeWait    = 10 * time.Minute
	largeAlone   = time.Second // of small calls with nothing beside them
	largeLook    = 10 * time.Millisecond
)

// The floors of the large reply.
const (
	largeDirectTCP   = 0.6
	largeRelayedTCP  = 0.27
	largeDirectGRPC  = 3.0
	largeRelayedGRPC = 1.5
	largeMiB         = 64  // of broker and client, each, above idle
	largeP99         = 5.0 // of a small call beside it, over that alone
)

// LargeRun is one large reply.
type LargeRun struct {
	Way        string
	Repetition int
	Bytes      int64
	Elapsed    time.Duration
	MiB        []float64 // each process's peak above idle, client last
	Alone      time.Duration
	Beside     time.Duration // p99 of a small call
}

func (r LargeRun) rate() float64 { return float64(r.Bytes) / r.Elapsed.Seconds() }

func largeRoles() map[string]Role {
	return map[string]Role{
		"large/tcp": largeTCPRole, "large/grpc": largeGRPCRole, "large/broker": limpetBrokerRole, "large/node": largeNodeRole, "large-client": largeClientRole,
	}
}

// plenty reads as that many bytes, the same megabyte again and again.
type plenty struct{ left int64 }

var largeBytes = make([]byte, largePiece)

// Read implements io.Reader.
func (p *plenty) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := copy(b, largeBytes[:min(p.left, largePiece)])
	p.left -= int64(n)
	return n, nil
}

func largeTCPRole(ctx context.Context, p *Process) error {
	return acceptEach(ctx, p, func(c net.Conn) error {
		for {
			var head [8]byte
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return err
			}
			if _, err := io.Copy(c, &plenty{int64(binary.BigEndian.Uint64(head[:]))}); err != nil {
				return err
			}
		}
	})
}

var largeGRPCDesc = grpc.StreamDesc{StreamName: "Large", Handler: largeGRPCServe, ServerStreams: true}

func largeGRPCServe(_ any, s grpc.ServerStream) error {
	m := &wrapperspb.Int64Value{}
	if err := s.RecvMsg(m); err != nil {
		return err
	}
	for left := m.GetValue(); left > 0; left -= largePiece {
		if err := s.SendMsg(wrapperspb.Bytes(largeBytes[:min(left, largePiece)])); err != nil {
			return err
		}
	}
	return nil
}

func largeGRPCRole(ctx context.Context, p *Process) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "bench.Large", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{largeGRPCDesc}}, struct{}{})
	defer context.AfterFunc(ctx, s.Stop)()
	p.Ready(l.Addr().String())
	return errors.Join(s.Serve(l), ctx.Err())
}

func largeNodeRole(ctx context.Context, p *Process) error {
	pool := worker.NewPool(worker.Config[struct{}]{Pool: limpetPool, Slots: 4})
	worker.Handle(pool, "echo", echo)
	worker.Handle(pool, "large", func(_ context.Context, _ struct{}, size int64) (io.Reader, error) { return &plenty{size}, nil })
	p.Ready("")
	return worker.Serve(ctx, worker.Options{Broker: p.At[0], Name: "bench"}, pool)
}

// fetcher has one large reply come, and drops it.
type fetcher func(ctx context.Context, size int64) (int64, error)

// largeClientRole answers "fetch" with how long a reply took, and "beside" with
// the p99 of small calls alone and beside one.
func largeClientRole(ctx context.Context, p *Process) error {
	fetch, small, err := largeDial(ctx, p)
	if err != nil {
		return err
	}
	p.Answer("fetch", func(arg json.RawMessage) (any, error) {
		var size int64
		if err := json.Unmarshal(arg, &size); err != nil {
			return nil, err
		}
		began := time.Now()
		n, err := fetch(ctx, size)
		if err == nil && n != size {
			err = fmt.Errorf("%d bytes came of %d", n, size)
		}
		return time.Since(began), err
	})
	p.Answer("beside", func(arg json.RawMessage) (any, error) {
		var size int64
		if err := json.Unmarshal(arg, &size); err != nil || small == nil {
			return [2]time.Duration{}, err
		}
		return largeBeside(ctx, fetch, small, size)
	})
	p.Ready("")
	<-ctx.Done()
	return ctx.Err()
}

// largeBeside is the p99 of small calls alone, and beside a large reply.
func largeBeside(ctx context.Context, fetch fetcher, small func(context.Context) error, size int64) (p99 [2]time.Duration, err error) {
	alone, stop := context.WithTimeout(ctx, largeAlone)
	defer stop()
	if p99[0], err = p99Until(ctx, alone.Done(), small); err != nil {
		return p99, err
	}
	done := make(chan struct{})
	fetched := make(chan error, 1)
	go func() {
		defer close(done)
		_, err := fetch(ctx, size)
		fetched <- err
	}()
	p99[1], err = p99Until(ctx, done, small)
	<-done
	return p99, errors.Join(err, <-fetched)
}

func p99Until(ctx context.Context, stop <-chan struct{}, small func(context.Context) error) (time.Duration, error) {
	var took []time.Duration
	for {
		select {
		case <-stop:
			slices.Sort(took)
			if len(took) == 0 {
				return 0, errors.New("no small call ended beside the large reply")
			}
			return took[len(took)*99/100], nil
		default:
		}
		began := time.Now()
		if err := small(ctx); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
}

func largeDial(ctx context.Context, p *Process) (fetcher, func(context.Context) error, error) {
	switch p.Peer {
	case "tcp":
		f, err := largeTCP(ctx, p)
		return f, nil, err
	case "grpc-stream":
		f, err := largeGRPC(p)
		return f, nil, err
	case largeRelayed:
		return largeLimpet(ctx, p, client.WithRelayOnly())
	default:
		return largeLimpet(ctx, p)
	}
}

func largeTCP(ctx context.Context, p *Process) (fetcher, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.At[0])
	return func(_ context.Context, size int64) (int64, error) {
		if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(size))); err != nil {
			return 0, err
		}
		return io.Copy(io.Discard, io.LimitReader(c, size))
	}, err
}

func largeGRPC(p *Process) (fetcher, error) {
	c, err := grpcDial(p)
	return func(ctx context.Context, size int64) (n int64, err error) {
		s, err := c.NewStream(ctx, &largeGRPCDesc, "/bench.Large/Large")
		if err != nil {
			return 0, err
		}
		if err := errors.Join(s.SendMsg(wrapperspb.Int64(size)), s.CloseSend()); err != nil {
			return 0, err
		}
		in := &wrapperspb.BytesValue{}
		for {
			if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
				return n, nil
			} else if err != nil {
				return n, err
			}
			n += int64(len(in.GetValue()))
		}
	}, err
}

// sink counts what is written to it.
type sink struct{ n int64 }

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) { s.n += int64(len(b)); return len(b), nil }

func largeLimpet(ctx context.Context, p *Process, opts ...client.Option) (fetcher, func(context.Context) error, error) {
	c, err := client.Dial(ctx, p.At[0], opts...)
	if err != nil {
		return nil, nil, err
	}
	sessions, err := openSessions(ctx, c, 2)
	if err != nil {
		return nil, nil, err
	}
	for late := time.Now().Add(nodeWait); len(opts) == 0 && !sessions[0].Direct(); {
		if err := errors.Join(callEach(ctx, sessions), sleep(ctx, time.Millisecond)); err != nil || time.Now().After(late) {
			return nil, nil, errors.Join(err, errors.New("the direct path does not come up"))
		}
	}
	body := make([]byte, 64)
	fetch := func(ctx context.Context, size int64) (int64, error) {
		var to sink
		err := sessions[0].Call(ctx, "large", size, &to)
		return to.n, err
	}
	return fetch, func(ctx context.Context) error {
		_, err := client.Call[[]byte](ctx, sessions[1], "echo", body)
		return err
	}, nil
}

// runLarge compares the ways.
func runLarge(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("large", 5, out)
	size := o.set.Int64("size", 1<<30, "bytes of the reply")
	if err := o.parse(args, map[string]string{"repeats": "3", "size": strconv.Itoa(256 << 20)}); err != nil {
		return err
	}
	if *size < largePiece {
		return usageError{fmt.Errorf("-size must be at least %d, not %d", largePiece, *size)}
	}
	var runs []LargeRun
	for repetition := range o.repeats {
		for _, w := range largeWays {
			r, err := measureLarge(ctx, w.name, w.servers, *size, o.verbose)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			r.Repetition = repetition
			runs = append(runs, r)
			fmt.Fprintf(o.progress, "repetition %d, %s: %.0f MiB/s\n", repetition+1, w.name, r.rate()/(1<<20))
		}
	}
	return reportLarge(o, *size, runs, out)
}

// measureLarge starts a way's processes, warms them up, and has one reply come
// for its time and its memory, and another one for the calls beside it.
func measureLarge(ctx context.Context, way string, servers []string, size int64, verbose bool) (LargeRun, error) {
	family := &Family{verbose: verbose}
	defer family.Stop()
	setup := Setup{Peer: way, Sessions: 2}
	for _, role := range append(slices.Clone(servers), "large-client") {
		if _, err := family.Add(ctx, role, setup); err != nil {
			return LargeRun{}, err
		}
	}
	r := LargeRun{Way: way, Bytes: size}
	c := family.Members[len(servers)]
	var warm time.Duration
	if err := c.Ask(ctx, "fetch", largePiece, &warm, largeWait); err != nil {
		return r, err
	}
	peak := watchResident(family)
	err := c.Ask(ctx, "fetch", size, &r.Elapsed, largeWait)
	r.MiB = peak()
	if err != nil || len(servers) == 1 {
		return r, err
	}
	var p99 [2]time.Duration
	err = c.Ask(ctx, "beside", size, &p99, largeWait)
	r.Alone, r.Beside = p99[0], p99[1]
	return r, err
}

// watchResident looks at each process's resident memory until it is asked for
// the peaks above the first look, in MiB.
func watchResident(f *Family) (peaks func() []float64) {
	first, most := make([]int64, len(f.Members)), make([]int64, len(f.Members))
	look := func(into []int64) {
		for i, c := range f.Members {
			into[i] = max(into[i], residentOf(c.cmd.Process.Pid))
		}
	}
	look(first)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for every := time.NewTicker(largeLook); ; {
			select {
			case <-every.C:
				look(most)
			case <-stop:
				every.Stop()
				return
			}
		}
	}()
	return func() []float64 {
		close(stop)
		<-ended
		look(most)
		above := make([]float64, len(most))
		for i := range most {
			above[i] = float64(most[i]-first[i]) / (1 << 20)
		}
		return above
	}
}

// residentOf is a process's resident memory in bytes, 0 where it cannot be read.
func residentOf(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64) // 0 where it is no number
	return pages * int64(os.Getpagesize())
}

// largeFigures are one figure of a way, by repetition.
func largeFigures(runs []LargeRun, way string, of func(LargeRun) float64) (all []float64) {
	for _, r := range runs {
		if r.Way == way {
			all = append(all, of(r))
		}
	}
	return all
}

func reportLarge(o *options, size int64, runs []LargeRun, out io.Writer) error {
	m := thisMachine()
	fmt.Fprintf(out, "one reply of %d MiB; medians (least-greatest) of %d interleaved runs\n%v\n\n", size>>20, o.repeats, m)
	fmt.Fprintf(out, "%-16s %24s %24s %24s %20s %30s\n", "way", "MiB/s", "÷ tcp", "÷ grpc-stream", "MiB: client, broker", "small call p99 µs: alone, beside")
	tcp, grpc := largeFigures(runs, "tcp", LargeRun.rate), largeFigures(runs, "grpc-stream", LargeRun.rate)
	for _, w := range largeWays {
		rate := largeFigures(runs, w.name, LargeRun.rate)
		line := fmt.Sprintf("%-16s %24s %24s %24s", w.name, spreadOf(largeFigures(runs, w.name, func(r LargeRun) float64 { return r.rate() / (1 << 20) })).text(0),
			spreadOf(ratios(rate, tcp)).text(2), spreadOf(ratios(rate, grpc)).text(2))
		clients := spreadOf(largeFigures(runs, w.name, clientMiB)).Median
		if len(w.servers) > 1 {
			line += fmt.Sprintf(" %20s %30s", fmt.Sprintf("%.1f, %.1f", clients, spreadOf(largeFigures(runs, w.name, brokerMiB)).Median),
				fmt.Sprintf("%.0f, %.0f", spreadOf(largeFigures(runs, w.name, aloneMicros)).Median, spreadOf(largeFigures(runs, w.name, besideMicros)).Median))
		} else {
			line += fmt.Sprintf(" %20.1f", clients)
		}
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine Machine
		Runs    []LargeRun
	}{m, runs}); err != nil {
		return err
	}
	return errors.Join(largeVerdicts(o, runs, tcp, grpc, out)...)
}

func clientMiB(r LargeRun) float64    { return r.MiB[len(r.MiB)-1] }
func brokerMiB(r LargeRun) float64    { return r.MiB[0] }
func aloneMicros(r LargeRun) float64  { return float64(r.Alone) / float64(time.Microsecond) }
func besideMicros(r LargeRun) float64 { return float64(r.Beside) / float64(time.Microsecond) }

// largeVerdicts holds both ways of Limpet to their floors.
func largeVerdicts(o *options, runs []LargeRun, tcp, grpc []float64, out io.Writer) (errs []error) {
	for _, w := range []struct {
		name            string
		ofTCP, ofStream float64
	}{{largeDirect, largeDirectTCP, largeDirectGRPC}, {largeRelayed, largeRelayedTCP, largeRelayedGRPC}} {
		rate := largeFigures(runs, w.name, LargeRun.rate)
		most := func(got, bound float64, what string) {
			errs = append(errs, o.verdict(out, got <= bound, fmt.Sprintf("%s, %s: %.2f, bound at most %.2f", w.name, what, got, bound)))
		}
		least := func(got, bound float64, what string) {
			errs = append(errs, o.verdict(out, got >= bound, fmt.Sprintf("%s %s: %.2f, bound at least %.2f", w.name, what, got, bound)))
		}
		least(spreadOf(ratios(rate, tcp)).Median, w.ofTCP, "÷ tcp")
		least(spreadOf(ratios(rate, grpc)).Median, w.ofStream, "÷ grpc-stream")
		most(spreadOf(largeFigures(runs, w.name, clientMiB)).Median, largeMiB, "MiB of the client above idle")
		most(spreadOf(largeFigures(runs, w.name, brokerMiB)).Median, largeMiB, "MiB of the broker above idle")
		most(spreadOf(largeFigures(runs, w.name, func(r LargeRun) float64 { return float64(r.Beside) / float64(r.Alone) })).Median, largeP99, "p99 of a small call beside it ÷ alone")
	}
	return errs
}
