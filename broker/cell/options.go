package cell

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/heartbeat"
)

// Bounds and defaults of Options.
const (
	MinLimit    = 50 * time.Millisecond // below it a healthy process is taken for a hung one
	MaxLimit    = time.Hour
	DefaultBind = 5 * time.Second
)

// Options of a candidate. Dir must be given.
type Options struct {
	// Dir is the cell: a folder of this user's own, on a local disk. Where only
	// its last element is missing it is made.
	Dir string
	// Limit is for how long a master may be silent before the others accuse it;
	// default heartbeat.DefaultLimit. It should be the same for all candidates.
	Limit time.Duration
	// PairKills lets the only other candidate kill a master that has been silent
	// for the limit. Without it a cell of two waits for it to go on, or to die.
	PairKills bool
	// Bind is for how long a new master tries to bind an endpoint that is in
	// use, before it gives up; default DefaultBind. A killed master's is free
	// within milliseconds.
	Bind time.Duration
	// Broker is what this candidate runs as master. Its Cell, Epoch, Tick, Pulse
	// and Outdated are set by the cell.
	Broker broker.Options
	// Beside runs beside the broker while this candidate is master, such as its
	// admin pages. It ends with ctx; an error ends the candidate.
	Beside func(ctx context.Context, b *broker.Server) error
	// Event is told what happens, in order, by the cell's loop: it must not
	// block.
	Event  func(Event)
	Logger *slog.Logger // default that of Broker, or slog.Default

	// Faults are for tests.
	Faults Faults
}

// Faults are put between a candidate and the others by tests. The zero value
// does nothing.
type Faults struct {
	Lose func(to heartbeat.Candidate) bool // notes to it get lost
	Kill func(h heartbeat.Holder)          // runs instead of a kill
}

func (o *Options) settle() error {
	if o.Dir == "" {
		return errors.New("cell: no folder is named")
	}
	if o.Limit == 0 {
		o.Limit = heartbeat.DefaultLimit
	}
	if o.Limit < MinLimit || o.Limit > MaxLimit {
		return fmt.Errorf("cell: limit of %s, want %s to %s", o.Limit, MinLimit, MaxLimit)
	}
	if o.Bind <= 0 {
		o.Bind = DefaultBind
	}
	if o.Broker.Listen == "" {
		o.Broker.Listen = broker.DefaultListen
	}
	if o.Logger == nil {
		o.Logger = o.Broker.Logger
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Broker.Logger = o.Logger
	return nil
}
