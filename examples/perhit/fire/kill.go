package fire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/limpet-rpc/limpet/examples/perhit/front"
)

// killHalfway waits for half of the hits, then for a slow one that has only just
// begun on the victim, and kills the victim under it.
func (f *firing) killHalfway(ctx context.Context) {
	select {
	case <-f.half:
	case <-ctx.Done():
		return
	}
	victim, ok := f.awaitVictim(ctx)
	if !ok {
		return
	}
	f.killed.Store(time.Now().UnixNano())
	if err := syscall.Kill(f.Kill, syscall.SIGKILL); err != nil {
		f.killed.Store(0)
		f.lines.alwaysf("cannot kill process %d: %v", f.Kill, err)
		return
	}
	f.lines.alwaysf("--- killed process %d (SIGKILL) while session %s ran there on thread %d", f.Kill, short(victim.Session), victim.Thread)
}

// awaitVictim looks at the running hits until one of them is slow, fresh and on the
// process to be killed. It gives up with ctx, when the last hit has been answered.
func (f *firing) awaitVictim(ctx context.Context) (front.Running, bool) {
	for {
		running, err := f.running(ctx)
		if err != nil && ctx.Err() == nil {
			f.lines.alwaysf("cannot ask which hits are running: %v", err)
			return front.Running{}, false
		}
		for _, r := range running {
			if r.PID == f.Kill && r.Script == "slow" && r.Millis < 200 {
				return r, true
			}
		}
		select {
		case <-ctx.Done():
			return front.Running{}, false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (f *firing) running(ctx context.Context) ([]front.Running, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.Front+"/hits", nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var list []front.Running
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("GET /hits: %w", err)
	}
	return list, nil
}

// killVerdict is an error where a kill was asked for and showed nothing.
func (f *firing) killVerdict() error {
	switch {
	case f.Kill == 0:
		return nil
	case f.killed.Load() == 0:
		return fmt.Errorf("process %d was to be killed halfway and was not", f.Kill)
	case f.tally.rightAfter == 0:
		return errors.New("no hit that began after the kill was right")
	}
	return nil
}
