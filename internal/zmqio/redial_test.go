package zmqio

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A connection that fails at once is tried again when its time has come, which may
// be before the next tick.
func TestNextDialIsKnownAfterAFailure(t *testing.T) {
	l := idleLoopOf(t, &desk{})
	p := l.directory.find(connect(t, l, "ipc://"+filepath.Join(t.TempDir(), "nobody")))
	l.inbox.take() // the connecting
	p.socket.dial()
	next := l.dialDue(p.socket.dialing.at)
	if len(l.dialers) != 1 || next.IsZero() || !next.Equal(p.socket.dialing.at) {
		t.Errorf("%d wait to dial, the next at %v, want one at %v", len(l.dialers), next, p.socket.dialing.at)
	}
}

// A connection that the poller refuses is tried again too.
func TestRedialWhereNothingCanBeWatched(t *testing.T) {
	l := idleLoopOf(t, &desk{})
	p := l.directory.find(connect(t, l, "tcp://127.0.0.1:1"))
	l.inbox.take() // the connecting
	fd := l.poller.fd
	l.poller.fd = -1
	p.socket.dial()
	l.poller.fd = fd
	if len(l.dialers) != 1 {
		t.Errorf("%d wait to dial, want 1", len(l.dialers))
	}
}

// The file of a unix socket makes room for a new one. Any other file stays.
func TestListenLeavesFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := idleLoopOf(t, &desk{})
	if _, err := l.Listen("ipc://" + path); !errors.Is(err, ErrInUse) {
		t.Errorf("Listen: %v, want ErrInUse", err)
	}
	if kept, err := os.ReadFile(path); err != nil || string(kept) != "data" {
		t.Errorf("the file holds %q now, %v", kept, err)
	}
}
