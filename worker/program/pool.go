package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/limpet-rpc/limpet/worker"
)

// Defaults of a Config.
const (
	DefaultGrace   = 2 * time.Second
	DefaultSettle  = 100 * time.Millisecond
	DefaultMaxLine = 16 << 20
)

// Config describes a pool whose sessions each have a child process.
type Config struct {
	Pool  string // name, the same on every node that serves it
	Slots int    // sessions, and so children, at once; default: the number of CPUs, or MinSlots

	// MinSlots and MaxSlots are those of worker.Config: where MaxSlots is above 0
	// there are more or fewer, as opens wait for them.
	MinSlots, MaxSlots     int
	GrowAfter, ShrinkAfter time.Duration
	Policy                 string // which node gets a session; see worker.Config

	Command []string // the program and its arguments
	Dir     string   // where it runs; default: where this process does
	Env     []string // key=value, added to this process's own environment; LIMPET_SESSION is the session's public id

	// Settle is how long a new child that says nothing is watched before its
	// session opens; its first line ends that. One that ends within it refuses
	// the open. Default 100 ms; negative: not at all.
	Settle time.Duration
	// Grace is how long a child may take to answer a call that was cancelled, to
	// end after its stdin was closed, and to end after SIGTERM. Default 2 s.
	Grace time.Duration
	// CloseMethod is a notification that is sent before stdin is closed; default
	// none.
	CloseMethod string
	// Traceparent has the request of a call that comes in a trace carry it, as the
	// member "traceparent" beside "params", in the form of the W3C header of that
	// name. A program that checks its requests for members it does not know refuses
	// such a one.
	Traceparent bool
	// Budget is how long a call may run without a notification before it counts as
	// hung; see worker.Config. The child of one that does is killed after the
	// grace.
	Budget time.Duration
	// MaxLine bounds a message, in bytes, either way. Default 16 MiB.
	MaxLine int
	// Logger gets the children's stderr, line by line; default slog.Default.
	Logger *slog.Logger

	// The three clocks; see session.Limits.
	Lease, Idle, MaxAge time.Duration
}

// NewPool returns a pool of programs, to be served with worker.Serve. A program
// or folder that is not there is an error.
func NewPool(c Config) (worker.Served, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("pool %q: %w", c.Pool, err)
	}
	pool := worker.NewPool(worker.Config[*child]{
		Pool: c.Pool, Slots: c.Slots, MinSlots: c.MinSlots, MaxSlots: c.MaxSlots, GrowAfter: c.GrowAfter, ShrinkAfter: c.ShrinkAfter, Policy: c.Policy,
		Lease: c.Lease, Idle: c.Idle, MaxAge: c.MaxAge, Budget: c.Budget,
		Open:  func(ctx context.Context, s *worker.Session) (*child, error) { return open(ctx, &c, s) },
		Close: func(child *child, _ error) { child.dismiss() },
	})
	worker.HandleAny(pool, func(ctx context.Context, child *child, method string, arg worker.Body) (worker.Body, error) {
		return child.call(ctx, method, arg)
	})
	return pool, nil
}

// complete fills in the defaults, and finds the program.
func (c *Config) complete() error {
	if c.Settle == 0 {
		c.Settle = DefaultSettle
	}
	if c.Grace <= 0 {
		c.Grace = DefaultGrace
	}
	if c.MaxLine <= 0 {
		c.MaxLine = DefaultMaxLine
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	for _, pair := range c.Env {
		if name, _, ok := strings.Cut(pair, "="); !ok || name == "" || strings.ContainsRune(pair, 0) {
			return fmt.Errorf("environment %q: want key=value", pair)
		}
	}
	return c.find()
}

// find makes the program's path one that holds wherever it is started.
func (c *Config) find() error {
	if len(c.Command) == 0 || c.Command[0] == "" {
		return errors.New("no program given")
	}
	if c.Dir != "" {
		if at, err := os.Stat(c.Dir); err != nil {
			return fmt.Errorf("folder: %w", err)
		} else if !at.IsDir() {
			return fmt.Errorf("folder %s: not a folder", c.Dir)
		}
	}
	name := c.Command[0]
	if strings.ContainsRune(name, filepath.Separator) && !filepath.IsAbs(name) {
		name = filepath.Join(c.Dir, name)
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return fmt.Errorf("program: %w", err)
	}
	c.Command = append([]string{path}, c.Command[1:]...)
	return nil
}
