package worker

import (
	"cmp"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// DefaultBroker is where a broker is looked for when nobody says otherwise.
const DefaultBroker = "tcp://127.0.0.1:7700"

// Options of a node. The zero value serves the default broker.
type Options struct {
	// Broker lists the brokers' endpoints, separated by commas. Empty means the
	// environment variable LIMPET_BROKER, or else DefaultBroker.
	Broker string
	// Name is how status shows the node; default host-pid.
	Name string
	// Labels are what an open may ask for.
	Labels map[string]string
	// Beat is how often the node beats, and Misses how many beats in a row may
	// be missed before its sessions are given up; default 1 s and 3.
	Beat   time.Duration
	Misses int
	// Grace is how long open sessions may go on after ctx has ended, before
	// they are ended too; nothing new is taken meanwhile. Default 0: they end at
	// once, after the call that runs. A drain that a broker asks for brings its
	// own deadline.
	Grace time.Duration
	// Direct is where clients reach the node without a broker in between: an
	// endpoint to listen at, tcp://address:port or ipc://path; port 0 or * takes
	// a free one. Default: a free TCP port of the address by which the first
	// broker is reached; "off" for none, so that every call is relayed.
	Direct string
	// Advertise is the endpoint that clients are told, where they reach the node
	// by another one than it listens at.
	Advertise string
	// Records is the folder in which nodes of one machine keep their start
	// records and look for those of the dead, so that a call which a dead node
	// had not started is known as not run. Default: a folder of the user's in the
	// system's temporary one; "off" for none. All of a machine should share it.
	Records string
	// SlotsPerProcess, above 0, has Serve run the slots in worker processes: this
	// program, executed anew with the same arguments, with so many slots of one
	// pool each; 1 is a process a session. Serve then only starts, watches and
	// replaces them, and the program must call it once, with the same pools, in
	// every process; InWorkerProcess tells which one it is. Each is a node of its
	// own, called Name.1, Name.2 and so on. One whose loop does not beat for
	// Beat × Misses is dumped, killed and replaced; one in which a session hangs
	// is drained of the others first. None outlives the process that serves.
	SlotsPerProcess int
	// SharedSlots, above 0, is how many slots the pools with MaxSlots have together
	// at most: where they are all given out, one that needs more gets those that
	// another has had free for 5 × GrowAfter, down to its MinSlots. With
	// SlotsPerProcess a pool grows and shrinks by whole processes.
	SharedSlots int
	// Neighbours is how long the sessions beside a hung one, in the same worker
	// process, may go on before that process is killed; default 1 min.
	Neighbours time.Duration
	// Debugger is the program that is run, for a second at most, to find the
	// native stack of a call that hangs inside C on a locked thread: eu-stack or
	// gdb, or a path to one; default whichever is there, "off" for none. gdb
	// stops the whole process while it looks, some hundred milliseconds.
	Debugger string
	// Tracer, where given, has every run of a method be an OpenTelemetry span:
	// "pool/method", of the kind server, below the span of its caller, with the error
	// that it ended with. Without it the handler's context has its caller's span, and
	// nothing is made.
	Tracer trace.TracerProvider
	// Logger gets what happens; default slog.Default.
	Logger *slog.Logger
}

// brokersOf are the endpoints of a node's brokers, separated by commas.
func brokersOf(brokers string) string {
	return cmp.Or(brokers, os.Getenv("LIMPET_BROKER"), DefaultBroker)
}

func firstBroker(brokers string) string {
	first, _, _ := strings.Cut(brokersOf(brokers), ",")
	return strings.TrimSpace(first)
}
