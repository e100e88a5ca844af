package worker

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// labelKey is the goroutine label by which a slot's goroutine is found among
// all others, and by which profiles tell slots apart.
const labelKey = "limpet"

// badge is one slot's goroutine label. It is made once and worn by each session
// in turn, and by the goroutines that they start.
type badge struct {
	name string
	ctx  context.Context //nolint:containedctx // how runtime/pprof has its labels
}

func (b *badge) wear() { pprof.SetGoroutineLabels(b.ctx) }

// badges are the slots' labels, made as slots are first used.
type badges struct {
	node   session.NodeID
	byPool map[string][]atomic.Pointer[badge] // fixed after newBadges
}

func newBadges(node session.NodeID, pools []core.Pool) badges {
	b := badges{node: node, byPool: map[string][]atomic.Pointer[badge]{}}
	for _, p := range pools {
		b.byPool[p.Name] = make([]atomic.Pointer[badge], p.Capacity())
	}
	return b
}

// of returns the label of one slot: node, pool, worker.
func (b *badges) of(pool string, worker int) *badge {
	at := &b.byPool[pool][worker]
	if is := at.Load(); is != nil {
		return is
	}
	name := fmt.Sprintf("%s/%s/%d", b.node, pool, worker)
	is := &badge{name: name, ctx: pprof.WithLabels(context.Background(), pprof.Labels(labelKey, name))}
	at.Store(is)
	return is
}

// dump is a profile of all goroutines of the process, as runtime/pprof writes
// it: one paragraph for all that have the same stack and labels.
type dump struct{ paragraphs []string }

// newDump takes one. The world is stopped for a moment only; with 100,000
// goroutines the whole takes some hundred milliseconds.
func newDump() dump {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return dump{} // writing to memory does not fail
	}
	return dump{strings.Split(b.String(), "\n\n")}
}

// inHandler is what tells a slot's own goroutine from those that it has
// started, which inherit its label.
const inHandler = "worker.(*task).handle"

// inAside does so on the side lane.
const inAside = "worker.(*aside).handle"

// of finds the stack of the handler that runs on a slot; inC reports that it
// has called into C and not come back.
func (d dump) of(b *badge) (stack string, inC, ok bool) {
	label := strconv.Quote(labelKey) + ":" + strconv.Quote(b.name)
	for _, p := range d.paragraphs {
		if strings.Contains(p, label) && handles(p) {
			frames := framesOf(p)
			return written(frames), called(frames), true
		}
	}
	return "", false, false
}

func handles(frame string) bool {
	return strings.Contains(frame, inHandler) || strings.Contains(frame, inAside)
}

// framesOf reads the addresses in a paragraph's first line, "1 @ 0x47d92e ...".
func framesOf(paragraph string) []runtime.Frame {
	_, at, _ := strings.Cut(paragraph, " @ ")
	at, _, _ = strings.Cut(at, "\n")
	var pcs []uintptr
	for word := range strings.FieldsSeq(at) {
		if pc, err := strconv.ParseUint(word, 0, 64); err == nil {
			pcs = append(pcs, uintptr(pc))
		}
	}
	var all []runtime.Frame
	for frames := runtime.CallersFrames(pcs); len(pcs) > 0; {
		f, more := frames.Next()
		if handles(f.Function) {
			break // from here on it is this package's
		}
		all = append(all, f)
		if !more {
			break
		}
	}
	return all
}

func written(frames []runtime.Frame) string {
	var b strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", cmp.Or(f.Function, "?"), f.File, f.Line)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// called reports that the topmost frames are those of a call into C.
func called(frames []runtime.Frame) bool {
	for _, f := range frames {
		if f.Function == "runtime.cgocall" {
			return true
		}
		if !strings.HasPrefix(f.Function, "runtime.") {
			return false
		}
	}
	return false
}
