package sim

import (
	"fmt"
	"hash/crc32"
	"io"
	"runtime/debug"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// World is one run of all parts together under the faults that its seed has
// chosen. It is deterministic: the same seed is the same history.
type World struct {
	agenda
	seed    uint64
	plan    plan
	chance  chance
	fate    chance // of what came later than the rest: it leaves the draws of chance as they were
	delays  chance // of calls that hang
	shaping chance // of what nodes say and opens want
	casts   chance // of broadcasts
	tides   chance // of streams
	history io.Writer
	truth   *truth
	failure error
	memory  []byte
	digest  uint64

	cell    *cell // of the brokers; nil: each is alone
	brokers []*brokerPart
	nodes   []*nodePart
	clients []*clientPart // every one that ever was
}

// Result is what came of a world.
type Result struct {
	Failure               error // the first promise that was broken, nil if none was
	Plan                  string
	Steps                 int
	Virtual               time.Duration
	Longest               time.Duration // of several worlds
	Digest                uint64        // over everything that was sent
	Done, NotRun, Unknown int           // calls
	Opened, Refused       int           // opens
	Casts                 int           // broadcasts that were complete
	Fates                 [session.FateLast + 1]int
}

// Run lets the world of a seed happen, and writes its history to w unless that
// is nil.
func Run(seed uint64, history io.Writer) Result {
	w := newWorld(seed, history)
	w.runSafely()
	return w.result()
}

func (w *World) result() Result {
	casts, fates := w.truth.castTally()
	return Result{
		Casts: casts, Fates: fates,
		Failure: w.failure, Plan: w.plan.String(), Steps: w.steps, Virtual: w.now, Digest: w.digest,
		Done: w.truth.done, NotRun: w.truth.notRun, Unknown: w.truth.unknown, Opened: w.truth.opened, Refused: w.truth.refusals,
	}
}

func newWorld(seed uint64, history io.Writer) *World {
	w := &World{
		seed: seed, chance: newChance(seed, 1), fate: newChance(seed, 3), delays: newChance(seed, 6), tides: newChance(seed, 7),
		shaping: newChance(seed, 8), casts: newChance(seed, 10), history: history,
	}
	w.plan = newPlan(newChance(seed, 2))
	w.plan.house(newChance(seed, 4))
	w.plan.hang(newChance(seed, 5))
	w.plan.shape(newChance(seed, 9))
	w.plan.bare = seed%4 == 3
	if seed%5 == 2 {
		w.plan.lanes = 1 + int(seed/5%2)
	}
	w.plan.casts = seed%4 == 2
	w.plan.direct, w.plan.lies = seed%3 == 1, seed%30 == 1
	w.plan.stream(seed)
	w.truth = newTruth(w)
	w.note("seed %d: %s", seed, w.plan.String())
	return w
}

// runSafely makes a panic in a core the failure of its seed.
func (w *World) runSafely() {
	defer func() {
		if p := recover(); p != nil {
			w.fail("a core panics: %v\n%s", p, debug.Stack())
		}
	}()
	w.run()
}

func (w *World) run() {
	for i := range w.plan.brokers {
		w.brokers = append(w.brokers, w.newBroker(fmt.Sprintf("broker%d", i+1)))
	}
	for i := range w.plan.nodes {
		w.nodes = append(w.nodes, w.newNode(fmt.Sprintf("node%d", i+1)))
	}
	for range w.plan.clients {
		w.clients = append(w.clients, w.newClient())
	}
	if w.plan.liar {
		w.newLiar()
	}
	w.schedule()
	w.at(w.plan.faultsEnd, w.heal)
	for w.failure == nil && w.now < w.plan.work {
		w.step()
	}
	w.settle()
}

// fail notes the first broken promise; the world ends with it.
func (w *World) fail(format string, args ...any) {
	if w.failure != nil {
		return
	}
	w.failure = fmt.Errorf("at %s: %w", w.now.Round(time.Microsecond), fmt.Errorf(format, args...))
	w.note("FAILED: %v", w.failure)
}

// host is the machine of a new node or broker, for all its lives.
func (w *World) host() string { return fmt.Sprintf("host%d", w.fate.count(1, w.plan.hosts)) }

// pools are the names of the pools that every node serves.
func (w *World) pools() []string { return []string{"a", "b"}[:w.plan.pools] }

// keep copies what a core wants sent: the memory of its effects is used again.
func (w *World) keep(env []byte) []byte {
	if len(w.memory) < len(env) {
		w.memory = make([]byte, max(64<<10, len(env)))
	}
	kept := w.memory[:len(env):len(env)]
	w.memory = w.memory[len(env):]
	copy(kept, env)
	w.digest = w.digest*31 + uint64(crc32.ChecksumIEEE(env)) + uint64(w.now)
	return kept
}
