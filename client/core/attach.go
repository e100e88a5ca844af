package core

import (
	"cmp"
	"encoding/binary"
	"io"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// attaching is one attach that has not been answered.
type attaching struct {
	token session.Token
	pool  string
	nonce uint64
	tag   any
	again time.Time
	tries int
}

// Attach asks for a session that another client holds, by its token. Its end
// comes as a Result with this tag. A pool that is not empty must be the
// session's.
func (c *Core) Attach(now time.Time, t session.Token, pool string, tag any, fx *Effects) *session.Error {
	var b [8]byte
	if _, err := io.ReadFull(c.chance, b[:]); err != nil {
		return &session.Error{Code: session.ErrOpenFailed, Outcome: session.NotRun, Text: "draw a number", Cause: err}
	}
	a := &attaching{token: t, pool: pool, nonce: binary.BigEndian.Uint64(b[:]) | 1<<63, tag: tag}
	c.attaches[a.nonce] = a
	c.sendAttach(now, a, fx)
	return nil
}

// GiveUpAttach stops asking. A session that is attached all the same is not
// kept: its lease ends it. It is false where the Result has come.
func (c *Core) GiveUpAttach(tag any) (given bool) {
	for nonce, a := range c.attaches {
		if a.tag == tag {
			delete(c.attaches, nonce)
			given = true
		}
	}
	return given
}

func (c *Core) sendAttach(now time.Time, a *attaching, fx *Effects) {
	a.again = now.Add(min(session.RetryFirst<<min(a.tries, 8), session.RetryMost))
	for _, b := range c.order {
		if !b.welcomed {
			continue
		}
		a.tries++
		h := wire.Header{Kind: wire.KindAttach, Node: a.token.Node, Session: a.token.Session, Key: a.token.Key, Number: a.nonce}
		fx.Session(b.peer, &h, append(slices.Clone(c.cfg.ID[:]), a.pool...))
		return
	}
	a.again = now.Add(recoverAgain)
}

func (c *Core) watchAttaches(now time.Time, fx *Effects) {
	if len(c.attaches) == 0 {
		return
	}
	list := make([]*attaching, 0, len(c.attaches))
	for _, a := range c.attaches {
		if !now.Before(a.again) {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *attaching) int { return cmp.Compare(a.nonce, b.nonce) })
	for _, a := range list {
		c.sendAttach(now, a, fx)
	}
}

// attached takes the answer to an attach.
func (c *Core) attached(now time.Time, a *attaching, h *wire.Header, body []byte, fx *Effects) {
	if h.Kind == wire.KindFail && h.Code.Retryable() {
		a.again = now.Add(recoverAgain)
		return
	}
	if h.Kind != wire.KindAttached && h.Kind != wire.KindFail {
		return
	}
	delete(c.attaches, a.nonce)
	if h.Kind == wire.KindFail {
		f := wire.ParseFailure(body)
		fx.Results = append(fx.Results, Result{Tag: a.tag, Err: &session.Error{Code: h.Code, Outcome: session.NotRun, Text: f.Text, Remote: true}})
		return
	}
	m, err := wire.ParseControl(body)
	route, ok := m.(*wire.Opened)
	if err != nil || !ok || h.Ack == 0 {
		fx.Results = append(fx.Results, Result{Tag: a.tag, Err: infer(session.ErrBadMessage, session.NotRun, 0, "the node's answer to attach does not decode")})
		return
	}
	if old := c.sessions[h.Session]; old != nil { // this very client held it
		c.fail(now, old, &session.Error{Code: session.ErrSessionMoved, Text: "attached again"}, fx)
	}
	s := c.begin(now, 0, route, h.Ack, fx)
	fx.Results = append(fx.Results, Result{Tag: a.tag, Session: s})
}

// Token is what another client needs to attach to a session.
func (s *Session) Token() session.Token {
	return session.Token{Node: s.route.Node, Session: s.route.Session, Key: s.head.key}
}
