package front

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// table keeps the sessions of one rule for their users.
type table struct {
	// fixed after newTable
	client *client.Client
	rule   Sessions

	mu      sync.Mutex
	kept    map[string]*kept // by what names them
	opening int              // that are not in it yet
	swept   time.Time
	closed  bool
}

// kept is one session and who has it in use.
type kept struct {
	id      string
	session *client.Session
	users   int       // requests under way, guarded by the table's mutex
	used    time.Time // likewise: when the last one ended
}

func newTable(c *client.Client, rule Sessions) *table {
	return &table{client: c, rule: rule, kept: map[string]*kept{}}
}

// errGone is a request for a session that is over.
var errGone = requestError{http.StatusGone, errors.New("the session is over: without its name a new one begins")}

// of returns the session of a request, its own or a new one, which opts say more
// about. The caller leaves it.
func (t *table) of(ctx context.Context, w http.ResponseWriter, r *http.Request, opts []client.OpenOption) (*kept, error) {
	name := t.named(r)
	if k := t.enter(name); k != nil {
		return k, nil
	}
	if name != "" && t.rule.Lost == lostGone {
		t.say(w, r, "", -1)
		return nil, errGone
	}
	k, err := t.open(ctx, opts)
	if err == nil {
		t.say(w, r, k.id, 0)
		w.Header().Set(headerSession, "new")
	}
	return k, err
}

// named is what a request calls its session.
func (t *table) named(r *http.Request) string {
	if t.rule.Header != "" {
		return r.Header.Get(t.rule.Header)
	}
	c, err := r.Cookie(t.rule.Cookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// say tells the client the name of its session, or to forget it.
func (t *table) say(w http.ResponseWriter, r *http.Request, name string, age int) {
	if t.rule.Header != "" {
		w.Header().Set(t.rule.Header, name)
		return
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure is set where the request came by TLS, or as the rule says
		Name: t.rule.Cookie, Value: name, Path: "/", MaxAge: age, HttpOnly: true, Secure: t.rule.Secure || r.TLS != nil, SameSite: http.SameSiteLaxMode,
	})
}

// enter takes a session that is kept into use; nil where it is not there, or over.
func (t *table) enter(name string) *kept {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.kept[name]
	if k == nil {
		return nil
	}
	if k.session.Err() != nil {
		delete(t.kept, name)
		return nil
	}
	k.users++
	return k
}

// leave ends a request's use of a session.
func (t *table) leave(k *kept) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k.users--
	k.used = time.Now()
	if k.session.Err() != nil {
		delete(t.kept, k.id)
	}
}

// anew reports that a request found its session over, though it did not look so
// yet when the request came: the word of its end and the request have crossed.
// Where that begins a new one it does so here too.
func (t *table) anew(err error) bool {
	if t.rule.Lost != lostRenew || !errors.Is(err, session.NotRun) {
		return false
	}
	switch session.CodeOf(err) {
	case session.ErrSessionExpired, session.ErrSessionUnknown, session.ErrSessionClosed, session.ErrSessionDrained,
		session.ErrWorkerLost, session.ErrWorkerDied, session.ErrWorkerPanic, session.ErrWorkerHung:
		return true
	}
	return false
}

// open begins a session, if there is room for it.
func (t *table) open(ctx context.Context, opts []client.OpenOption) (*kept, error) {
	if err := t.reserve(); err != nil {
		return nil, err
	}
	opts = append(slices.Clone(opts), client.WithLabels(t.rule.Labels), client.WithLimits(session.Limits{Idle: t.rule.Idle.Duration}))
	s, err := t.client.Open(ctx, t.rule.Pool, opts...)
	var k *kept
	if err == nil {
		k = &kept{id: newName(), session: s, users: 1}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opening--
	if k != nil {
		t.kept[k.id] = k
	}
	return k, err
}

// reserve makes room for one more session.
func (t *table) reserve() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.swept) > time.Second {
		t.swept = now
		for name, k := range t.kept {
			if k.users == 0 && (k.session.Err() != nil || now.Sub(k.used) > t.rule.Idle.Duration) {
				delete(t.kept, name) // its worker has ended it by its own clock
			}
		}
	}
	switch {
	case t.closed:
		return &session.Error{Code: session.ErrClientDone, Outcome: session.NotRun}
	case len(t.kept)+t.opening >= t.rule.Most:
		return &session.Error{Code: session.ErrOverloaded, Outcome: session.NotRun, Text: fmt.Sprintf("%d sessions are kept already", t.rule.Most)}
	}
	t.opening++
	return nil
}

// newName draws the name of a session: who does not know it cannot guess it.
func newName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it ends the process where there is no chance
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// closeWait is how long the end of one session may take.
const closeWait = 5 * time.Second

// end ends a session that is in use.
func (t *table) end(k *kept) {
	t.mu.Lock()
	delete(t.kept, k.id)
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = k.session.Close(ctx) // its lease ends it otherwise
}

// close ends all sessions.
func (t *table) close(ctx context.Context) error {
	t.mu.Lock()
	all := t.kept
	t.kept, t.closed = map[string]*kept{}, true
	t.mu.Unlock()
	errs := make(chan error, len(all))
	for _, k := range all {
		go func() { errs <- k.session.Close(ctx) }()
	}
	var err error
	for range all {
		err = errors.Join(err, <-errs)
	}
	return err
}
