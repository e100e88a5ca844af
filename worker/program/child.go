package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/limpet-rpc/limpet/internal/childproc"
	"github.com/limpet-rpc/limpet/internal/jsontext"
	"github.com/limpet-rpc/limpet/internal/notrun"
	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// drainFor is how long a child's streams are still read after its end and its
// group's: only somebody who left the group can hold them open.
const drainFor = 250 * time.Millisecond

// answersMost is how many answers to its own requests a child may leave
// unread.
const answersMost = 64

// child is one session's process.
type child struct {
	// fixed after start
	config  *Config
	session *worker.Session
	log     *slog.Logger
	proc    *childproc.Child
	in      *os.File    // its stdin
	out     *os.File    // its stdout
	errs    *os.File    // its stderr
	toWrite chan *asked // closed by nobody: hangup ends its reader
	said    *stderr

	spoke     chan struct{} // closed at its first line
	outOver   chan struct{} // closed when its stdout is not read any more
	hangup    chan struct{} // closed when nothing more is written
	condemned chan struct{} // closed when it has to be killed
	dismissed chan struct{} // closed when its session is over
	gone      chan struct{} // closed when nothing of it is left
	streams   sync.WaitGroup

	last uint64 // number of the latest call, owned by the session's goroutine

	mu      sync.Mutex
	opened  bool
	running *running
	why     string // it was condemned

	verdict string // how it ended, fixed when gone is closed
}

// asked is one line for the child.
type asked struct {
	line  []byte
	begun bool // some of it was written; fixed when gone is closed
}

// running is the call that runs.
type running struct {
	id     uint64
	ctx    context.Context
	answer chan *message // holds one
	onward error         // where it goes on, nil: nowhere; owned by the reader until it has put the answer there
}

// open starts a session's child, and waits until it has settled.
func open(ctx context.Context, config *Config, s *worker.Session) (*child, error) {
	c, err := start(config, s)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", config.Command[0], err)
	}
	settled := time.NewTimer(max(config.Settle, 0))
	defer settled.Stop()
	select {
	case <-settled.C:
	case <-c.spoke:
	case <-c.gone:
	case <-ctx.Done():
		c.condemn("nobody wants its session any more")
		<-c.gone
		return nil, ctx.Err()
	}
	if c.settle() {
		return c, nil
	}
	<-c.gone
	return nil, errors.New(c.verdict)
}

// settle makes the child its session's, unless it is as good as gone.
func (c *child) settle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.gone:
		return false
	case <-c.proc.Ended():
		return false
	case <-c.condemned:
		return false
	default:
		c.opened = true
		return true
	}
}

func start(config *Config, s *worker.Session) (*child, error) {
	cmd := exec.Command(config.Command[0], config.Command[1:]...) //nolint:noctx // its session ends it, step by step
	cmd.Dir = config.Dir
	cmd.Env = append(append(os.Environ(), config.Env...), "LIMPET_SESSION="+s.ID().String())
	c := &child{
		config: config, session: s, toWrite: make(chan *asked, answersMost),
		spoke: make(chan struct{}), outOver: make(chan struct{}), hangup: make(chan struct{}), condemned: make(chan struct{}),
		dismissed: make(chan struct{}), gone: make(chan struct{}),
	}
	theirs, err := c.pipes(cmd)
	defer func() { shut(theirs...) }()
	if err == nil {
		c.proc, err = childproc.Start(cmd)
	}
	if err != nil {
		shut(c.in, c.out, c.errs)
		return nil, err
	}
	c.log = config.Logger.With("pool", s.Pool(), "session", s.ID(), "process", c.proc.PID())
	c.said = &stderr{log: c.log}
	c.streams.Go(c.write)
	c.streams.Go(c.read)
	c.streams.Go(func() { c.said.read(remainsOf(c.errs)) })
	go c.mind()
	return c, nil
}

// pipes makes the child's streams, and returns the ends that are its own.
func (c *child) pipes(cmd *exec.Cmd) (theirs []*os.File, err error) {
	var in, out, errs *os.File
	var bad [3]error
	in, c.in, bad[0] = os.Pipe()
	c.out, out, bad[1] = os.Pipe()
	c.errs, errs, bad[2] = os.Pipe()
	theirs = []*os.File{in, out, errs}
	if err := errors.Join(bad[:]...); err != nil {
		return theirs, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
	return theirs, nil
}

func shut(files ...*os.File) {
	for _, f := range files {
		_ = f.Close() // nil where there was no pipe, and pipes lose nothing
	}
}

// call is one request, to its answer or the child's end.
func (c *child) call(ctx context.Context, method string, arg worker.Body) (worker.Body, error) {
	params, err := paramsOf(arg)
	c.last++
	line := request(c.last, method, params, c.traceparent(ctx))
	if err == nil && len(line) > c.config.MaxLine {
		err = fmt.Errorf("%d bytes as JSON, at most %d", len(line), c.config.MaxLine)
	}
	if err != nil {
		return worker.Body{}, notrun.Errorf(session.ErrBadArgument, "method %q: %s", method, err)
	}
	r := &running{id: c.last, ctx: ctx, answer: make(chan *message, 1)}
	c.run(r)
	defer c.run(nil)
	a := &asked{line: line}
	select {
	case <-c.gone:
	case c.toWrite <- a:
		c.await(ctx, r)
	}
	select {
	case m := <-r.answer:
		return answered(ctx, m, r.onward)
	default:
		<-c.gone
		return worker.Body{}, &worker.DiedError{Text: c.verdict, NotRun: !a.begun}
	}
}

// traceparent is the span that a call is told to be in, empty where it is none or
// the program does not want it.
func (c *child) traceparent(ctx context.Context) string {
	if !c.config.Traceparent {
		return ""
	}
	return span.Traceparent(ctx)
}

func (c *child) run(r *running) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = r
}

// await waits for a call's answer. It returns without one when the child is
// gone, or has been condemned because it did not heed the end of the context.
func (c *child) await(ctx context.Context, r *running) {
	select {
	case m := <-r.answer:
		r.answer <- m
		return
	case <-c.gone:
		return
	case <-ctx.Done():
	}
	c.offer(request(0, cancelMethod, append(strconv.AppendUint([]byte(`{"id":`), r.id, 10), '}'), ""))
	grace := time.NewTimer(c.config.Grace)
	defer grace.Stop()
	select {
	case m := <-r.answer:
		r.answer <- m
	case <-c.gone:
	case <-grace.C:
		c.condemn(fmt.Sprintf("call %d was cancelled (%s) and not answered within %s", r.id, context.Cause(ctx), c.config.Grace))
	}
}

// answered makes an answer a call's end, of one that may go on elsewhere.
func answered(ctx context.Context, m *message, onward error) (worker.Body, error) {
	switch {
	case m.Error != nil && ctx.Err() != nil:
		return worker.Body{}, fmt.Errorf("%w: %w", ctx.Err(), m.Error)
	case m.Error != nil:
		return worker.Body{}, m.Error
	case onward != nil:
		return worker.Body{}, onward
	}
	result, err := jsontext.AppendPacked(nil, m.Result)
	if err != nil {
		return worker.Body{}, fmt.Errorf("its result: %w", err)
	}
	return worker.Body{Bytes: result}, nil
}

// offer has a line written after the others; a child that leaves too many
// unread is condemned.
func (c *child) offer(line []byte) {
	select {
	case c.toWrite <- &asked{line: line}:
	default:
		c.condemn(fmt.Sprintf("it left %d messages unread on its stdin", answersMost))
	}
}

// write owns the child's stdin.
func (c *child) write() {
	defer shut(c.in)
	for {
		select {
		case a := <-c.toWrite:
			if !c.writeOne(a) {
				return
			}
			continue
		default:
		}
		select {
		case a := <-c.toWrite:
			if !c.writeOne(a) {
				return
			}
		case <-c.hangup:
			return
		}
	}
}

// writeOne is false where the child does not take any more.
func (c *child) writeOne(a *asked) bool {
	n, err := c.in.Write(a.line)
	a.begun = n > 0
	a.line = nil
	return err == nil
}

// read owns the child's stdout.
func (c *child) read() {
	defer close(c.outOver)
	in := newLines(remainsOf(c.out), c.config.MaxLine)
	for first := true; ; first = false {
		line, err := in.next()
		switch {
		case errors.Is(err, errLong):
			c.condemn(fmt.Sprintf("it wrote a line of more than %d bytes to stdout", c.config.MaxLine))
			return
		case errors.Is(err, io.ErrUnexpectedEOF):
			c.condemn(fmt.Sprintf("its stdout ended within a line: %q", clip(line, 200)))
			return
		case err != nil:
			return
		}
		if err := c.take(line); err != nil {
			c.condemn(fmt.Sprintf("a line on its stdout %s: %q", err, clip(line, 200)))
			return
		}
		if first {
			close(c.spoke)
		}
	}
}

// take takes one line; an error is the rule that it breaks.
func (c *child) take(line []byte) error {
	m, err := parse(line)
	switch {
	case err != nil:
		return err
	case m.Method == nil:
		return c.settled(m)
	case len(m.ID) > 0:
		c.offer(refusal(m.ID))
		return nil
	}
	c.mu.Lock()
	r := c.running
	c.mu.Unlock()
	switch {
	case r == nil:
		return nil
	case *m.Method == nextMethod:
		r.onward = onward(m.Params)
		_ = worker.Beat(r.ctx) // the call has ended meanwhile
		return nil
	}
	value, err := progressOf(m)
	if err != nil {
		return err
	}
	_ = worker.Progress(r.ctx, msgpack.RawMessage(value)) // the call has ended meanwhile, or it is too large to be told
	return nil
}

// settled gives the running call its answer.
func (c *child) settled(m *message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.running
	switch {
	case r == nil:
		return errors.New("answers a request, and none is open")
	case isNull(m.ID) && m.Error != nil: // it could not read the request's id
	case string(m.ID) != strconv.FormatUint(r.id, 10):
		return fmt.Errorf("answers request %s, and %d is open", clip(m.ID, 40), r.id)
	}
	select {
	case r.answer <- m:
		c.running = nil
		return nil
	default:
		return errors.New("answers a request twice")
	}
}

// condemn has the child killed; the first reason counts.
func (c *child) condemn(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == "" {
		c.why = why
		close(c.condemned)
	}
}

// dismiss ends the child with its session, and waits until it is gone.
func (c *child) dismiss() {
	close(c.dismissed)
	<-c.gone
}

// mind sees to the child's end, whoever brings it about.
func (c *child) mind() {
	dismissed := false
	select {
	case <-c.proc.Ended():
	case <-c.condemned:
	case <-c.outOver: // it ends, or it cannot be heard any more
		if !c.endsWithin(c.config.Grace) {
			c.condemn("it closed its stdout and went on")
		}
	case <-c.dismissed:
		dismissed = true
		c.seeOff()
	}
	_ = c.proc.SignalGroup(syscall.SIGKILL) // the child, or who is left of its group
	<-c.proc.Ended()
	c.collect()
	if !dismissed {
		c.announce()
	}
	close(c.gone)
}

// seeOff asks the child to end, by more and more urgent means.
func (c *child) seeOff() {
	if c.config.CloseMethod != "" {
		c.offer(request(0, c.config.CloseMethod, nil, ""))
	}
	close(c.hangup)
	if c.endsWithin(c.config.Grace) {
		return
	}
	_ = c.proc.SignalGroup(syscall.SIGTERM)
	if !c.endsWithin(c.config.Grace) {
		c.log.Warn("killed: it ignored the end of its stdin and SIGTERM", "grace", c.config.Grace)
	}
}

// endsWithin reports whether the child ends by then.
func (c *child) endsWithin(grace time.Duration) bool {
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-c.proc.Ended():
		return true
	case <-c.condemned:
		return false
	case <-patience.C:
		return false
	}
}

// collect takes the last words of a child that has ended, and takes it from
// the process table.
func (c *child) collect() {
	soon := time.Now().Add(drainFor)
	for _, f := range []*os.File{c.out, c.errs, c.in} {
		_ = f.SetDeadline(soon) // one that is closed has nothing to say
	}
	select {
	case <-c.hangup:
	default:
		close(c.hangup)
	}
	c.streams.Wait()
	shut(c.out, c.errs)
	_ = c.proc.Wait() // how it ended is the state's to tell
	c.verdict = c.describe()
}

// describe is how the child ended.
func (c *child) describe() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("%s (process %d) ended, %s", filepath.Base(c.config.Command[0]), c.proc.PID(), c.proc.State())
	if c.why != "" {
		text += ": " + c.why
	}
	if tail := c.said.tail(); tail != "" {
		text += "; its last lines on stderr: " + tail
	}
	return text
}

// announce tells of an end that nobody asked for.
func (c *child) announce() {
	c.mu.Lock()
	opened := c.opened
	c.mu.Unlock()
	c.log.Warn("died", "how", c.verdict)
	if opened {
		c.session.Died(c.verdict)
	}
}
