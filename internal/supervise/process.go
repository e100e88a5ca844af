package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/internal/childproc"
	"github.com/limpet-rpc/limpet/internal/startrec"
	"github.com/limpet-rpc/limpet/session"
)

// process is one worker process.
type process struct {
	// fixed after start
	seat      *seat
	name      string
	log       *slog.Logger
	child     *childproc.Child
	link      *link
	stdout    *stream
	stderr    *stream
	pipes     []*os.File // the reading ends
	heard     chan struct{}
	condemned chan verdict // holds one
	events    chan<- event
	started   time.Time
	debugger  string
	looks     sync.WaitGroup // debuggers; waited for by fate

	mu     sync.Mutex
	record string   // path of its start record
	lock   *os.File // shares the record's lock

	// owned by the supervisor's loop
	phase      phase
	registered bool
	load       Load // by its last beat
	told       time.Time
	done       bool      // its Serve has ended in good order
	until      time.Time // when the phase has lasted too long; zero: never
	why        string    // it leaves, is evicted, or has failed
}

// phase is where a process is in its life.
type phase uint8

const (
	starting phase = iota
	serving
	leaving // in good order
	evicted // drained of its neighbours; its seat is filled anew
	dying   // condemned
)

// verdict is why a process is to be killed.
type verdict struct {
	code  session.Code
	text  string
	limit patience
}

// event is what a process's goroutines tell the supervisor's loop: a message,
// or its end.
type event struct {
	process *process
	message message
	end     *session.Death
}

// start executes this program anew for one seat.
func (s *Supervisor) start(t *seat, name string) (*process, error) {
	p := &process{
		seat: t, name: name, debugger: s.o.Debugger, events: s.events, heard: make(chan struct{}), condemned: make(chan verdict, 1), started: time.Now(),
		until: time.Now().Add(startBound),
	}
	up, end, err := pair()
	if err != nil {
		return nil, err
	}
	p.link = up
	cmd, err := command(t.share, name, end)
	if err == nil {
		err = p.pipe(s, cmd)
	}
	if err == nil {
		p.child, err = childproc.Start(cmd)
	}
	err = errors.Join(err, end.Close())
	if cmd != nil {
		err = errors.Join(err, closeEnds(cmd))
	}
	if err != nil {
		p.link.close()
		return nil, errors.Join(err, p.closePipes())
	}
	p.log = s.o.Logger.With("process", name, "pid", p.child.PID())
	go p.listen()
	go p.stdout.read(p.pipes[0])
	go p.stderr.read(p.pipes[1])
	go p.fate()
	return p, nil
}

// command is this program once more, told what it is. Where the program file
// has been replaced meanwhile, it is still the one that runs here.
func command(share Share, name string, end *os.File) (*exec.Cmd, error) {
	b, err := json.Marshal(birth{Share: share, Name: name, PID: os.Getpid(), FD: 3})
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self()) //nolint:noctx // it ends when its supervisor says so, or is dead
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), variable+"="+string(b))
	if os.Getenv("GOTRACEBACK") == "" { // a dump shows goroutines that are running, too
		cmd.Env = append(cmd.Env, "GOTRACEBACK=crash")
	}
	cmd.ExtraFiles = []*os.File{end}
	return cmd, nil
}

// self is the path of the program that runs.
func self() string {
	const running = "/proc/self/exe"
	path, err := os.Executable()
	if err != nil {
		return running
	}
	a, errA := os.Stat(path)
	b, errB := os.Stat(running)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		return running
	}
	return path
}

// pipe connects the process's output.
func (p *process) pipe(s *Supervisor, cmd *exec.Cmd) error {
	for _, to := range []struct {
		file **stream
		sink *sink
		set  func(*os.File)
	}{
		{&p.stdout, s.stdout, func(f *os.File) { cmd.Stdout = f }},
		{&p.stderr, s.stderr, func(f *os.File) { cmd.Stderr = f }},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		*to.file = &stream{prefix: p.name, sink: to.sink, done: make(chan struct{})}
		p.pipes = append(p.pipes, r)
		to.set(w)
	}
	return nil
}

// closeEnds closes what only the child needs.
func closeEnds(cmd *exec.Cmd) error {
	var errs []error
	for _, w := range []any{cmd.Stdout, cmd.Stderr} {
		if f, ok := w.(*os.File); ok {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func (p *process) closePipes() error {
	var errs []error
	for _, f := range p.pipes {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// listen passes the process's messages on until it is gone.
func (p *process) listen() {
	defer close(p.heard)
	for {
		m, file, err := p.link.receive()
		if err != nil {
			return
		}
		if m.Is == isUp {
			p.mu.Lock()
			p.record, p.lock, file = m.Record, file, p.lock
			p.mu.Unlock()
		}
		if file != nil {
			_ = file.Close() // a second one
		}
		p.events <- event{process: p, message: m}
	}
}

// condemn has the process dumped and killed. Only the first verdict counts.
func (p *process) condemn(v verdict) {
	p.phase, p.until = dying, time.Time{}
	select {
	case p.condemned <- v:
	default:
	}
}

// endBound is how long the last words of a process that is dead are waited for:
// others may hold its streams.
const endBound = 500 * time.Millisecond

// fate waits for the process's end, or brings it about, and leaves the cause
// where those find it who bury the node.
func (p *process) fate() {
	var cause session.Death
	select {
	case <-p.child.Ended():
		_ = p.child.Wait() // State tells
		p.gather()
		cause = p.postmortem()
		p.leave(cause)
	case v := <-p.condemned:
		cause = session.Death{Code: v.code, Text: v.text, Dump: p.examine(v.limit)}
		_ = p.child.SignalGroup(unix.SIGKILL) // it leads its group and has not been waited for: the number is its own
		_ = p.child.Wait()
		p.leave(cause) // at once: its callers wait
		p.gather()
	}
	p.looks.Wait()
	p.events <- event{process: p, end: &cause}
}

// gather waits for what the process still said.
func (p *process) gather() {
	bound := time.NewTimer(endBound)
	defer bound.Stop()
	for _, done := range []chan struct{}{p.heard, p.stdout.done, p.stderr.done} {
		select {
		case <-done:
		case <-bound.C:
			bound.Reset(0)
		}
	}
	p.link.close()
	_ = p.closePipes() // a reader that still waits ends
	<-p.heard
	<-p.stdout.done
	<-p.stderr.done
}

// postmortem is how a process ended by itself: the panic that it wrote, or, where
// it exited, its last line.
func (p *process) postmortem() session.Death {
	state := p.child.State()
	why := session.Death{Code: session.ErrWorkerLost, Text: "its process ended: " + state.String()}
	said, _ := p.stderr.text()
	said = strings.TrimSpace(said)
	last := ""
	if state.Exited() {
		last = said[strings.LastIndexByte(said, '\n')+1:]
	}
	for _, mark := range []string{"panic: ", "fatal error: ", "SIGQUIT: "} {
		if i := strings.LastIndex("\n"+said, "\n"+mark); i >= 0 {
			why.Dump = said[i:]
			last, _, _ = strings.Cut(why.Dump, "\n")
			break
		}
	}
	if last != "" {
		why.Text += ": " + cut(last, 512)
	}
	return why
}

// leave puts the cause beside the start record and then lets the record go.
func (p *process) leave(c session.Death) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lock == nil {
		return
	}
	if p.record != "" {
		if err := startrec.LeaveCause(p.record, c); err != nil {
			p.log.Warn("the cause of a worker process's death is lost", "error", err)
		}
	}
	if err := p.lock.Close(); err != nil {
		p.log.Warn("a start record's lock", "error", fmt.Errorf("let it go: %w", err))
	}
	p.lock = nil
}
