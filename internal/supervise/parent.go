package supervise

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// variable is how a program learns that it is a worker process.
const variable = "LIMPET_WORKER_PROCESS"

// Share is what one worker process serves.
type Share struct {
	Pool  string `json:"pool"`
	Slots int    `json:"slots"`
	Why   string `json:"why,omitempty"` // the pool has grown by it; empty: it was there from the beginning
}

// birth is what the variable holds.
type birth struct {
	Share
	Name string `json:"name"` // of its node
	PID  int    `json:"supervisor"`
	FD   int    `json:"fd"`
}

// born is read once, at the program's start, and taken out of the environment:
// what the program executes is no worker process.
var born = func() string {
	text := os.Getenv(variable)
	if text != "" {
		_ = os.Unsetenv(variable) // fails for no name that is one
		var b birth
		if json.Unmarshal([]byte(text), &b) == nil && b.FD > 2 {
			unix.CloseOnExec(b.FD)
		}
	}
	return text
}()

// InChild reports that this process is a worker process.
func InChild() bool { return born != "" }

// Parent is a worker process's side of what connects it with its supervisor.
// Its methods may be called from any goroutine, Beat from one; none waits.
type Parent struct {
	// fixed after Find
	birth
	link   *link
	every  time.Duration
	orders chan Order
	gone   chan struct{}

	beat time.Time // the last one; owned by the loop that calls Beat
}

// Order is what the supervisor wants of this process.
type Order struct {
	Evict    bool          // a session hangs here: end the others by the deadline; else end now, with the usual grace
	Retire   bool          // take nothing new, end when the sessions have
	Deadline time.Duration // of an eviction, from now
}

// Find returns the supervisor of this process, nil for a process that has none.
// Beats are sent four times an interval. What the environment says and is not
// so is an error.
func Find(interval time.Duration) (*Parent, error) {
	if born == "" {
		return nil, nil //nolint:nilnil // having no supervisor is the usual case, and no error
	}
	p := &Parent{every: interval / 4, orders: make(chan Order, 4), gone: make(chan struct{})}
	if err := json.Unmarshal([]byte(born), &p.birth); err != nil {
		return nil, fmt.Errorf("%s: %w", variable, err)
	}
	fd, err := unix.FcntlInt(uintptr(p.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: descriptor %d: %w", variable, p.FD, err)
	}
	if p.link, err = newLink(fd); err != nil {
		return nil, fmt.Errorf("%s: descriptor %d: %w", variable, p.FD, err)
	}
	_ = unix.Close(p.FD) // the copy serves
	go p.listen()
	return p, nil
}

// listen takes orders until the supervisor is gone. It ends with the process.
func (p *Parent) listen() {
	defer close(p.gone)
	for {
		m, file, err := p.link.receive()
		if err != nil {
			return
		}
		if file != nil {
			_ = file.Close() // none is meant for a child
		}
		if m.Is != isStop && m.Is != isEvict && m.Is != isRetire {
			continue
		}
		select {
		case p.orders <- Order{Evict: m.Is == isEvict, Retire: m.Is == isRetire, Deadline: m.Deadline}:
		default: // it was told often enough
		}
	}
}

// Orders are the supervisor's.
func (p *Parent) Orders() <-chan Order { return p.orders }

// Supervisor is its process id.
func (p *Parent) Supervisor() int { return p.PID }

// Gone is closed when the supervisor has died.
func (p *Parent) Gone() <-chan struct{} { return p.gone }

// Up says that this process serves as that node, and lends the lock of its
// start record, where it keeps one.
func (p *Parent) Up(node, record string, lock *os.File) error {
	return p.link.send(message{Is: isUp, Node: node, Record: record}, lock)
}

// Load is how busy a node is.
type Load struct {
	Registered bool `json:"registered,omitempty"` // with some broker
	Held       int  `json:"held,omitempty"`       // slots that are not free
	Hung       int  `json:"hung,omitempty"`       // of them, those that are quarantined
	Draining   bool `json:"draining,omitempty"`

	// What brokers say waits for its pool, see sizing.Look; Age is since they did.
	Waiting int           `json:"waiting,omitempty"`
	Share   int           `json:"share,omitempty"`
	Oldest  time.Duration `json:"oldest,omitempty"` // nanoseconds, as the next
	Age     time.Duration `json:"age,omitempty"`
}

// Beat is called by the loop that does the work, at every turn, once what that turn
// has said to others has been sent; it beats when that is due.
func (p *Parent) Beat(now time.Time, look func() Load) {
	if now.Sub(p.beat) < p.every {
		return
	}
	p.beat = now
	m := message{Is: isBeat, Load: look()}
	_ = p.link.send(m, nil) // one that does not fit is missed
}

// Done says that Serve has ended: in good order, or not.
func (p *Parent) Done(err error) error {
	m := message{Is: isDone}
	if err != nil {
		m = message{Is: isFailed, Text: err.Error()}
	}
	return p.link.send(m, nil)
}
