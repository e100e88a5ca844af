package client

import (
	"context"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// Part is one call of a Gather, or of several, one after the other.
type Part struct {
	name, pool, method string
	arg                any
	into               any
	within             time.Duration
	opts               []OpenOption
	fallback           answer
	stands             bool  // there is a fallback
	wrong              error // it cannot be encoded
	err                error
}

// NewPart describes a call of one method, on a session of its own as with Do.
// Its name is the caller's, for errors and for the map that Gather returns.
func NewPart(name, pool, method string, arg any, opts ...OpenOption) *Part {
	return &Part{name: name, pool: pool, method: method, arg: arg, opts: opts}
}

// Into has the result decoded into what p points to, once all parts have ended:
// nothing is written to it after Gather has returned.
func (p *Part) Into(to any) *Part {
	p.into = to
	return p
}

// Or has the part end with a value of its own where it fails or is late, so that
// it fails nobody else; Err then says what became of it.
func (p *Part) Or(value any) *Part {
	p.stands = true
	p.fallback.body, p.fallback.raw, p.wrong = encode(value, nil)
	return p
}

// Within gives the part a deadline of its own, before that of the whole.
func (p *Part) Within(d time.Duration) *Part {
	p.within = d
	return p
}

// Err is what the part's call ended with, also where its fallback stood in; nil
// if it was done. It is for after Gather.
func (p *Part) Err() error { return p.err }

// Gather makes several calls at once, each on a session of its own and in its
// own pool, and blocks until all have ended or ctx has. The results are decoded
// into what the parts say. The first part that fails and has no fallback fails the
// whole: its error names the part, and the others are cancelled, as all are when
// ctx ends: their workers are told to stop. A result that comes too late is
// dropped; every call is a session of its own, so that it can be taken for
// nobody else's.
func Gather(ctx context.Context, c *Client, parts ...*Part) error {
	results := make([]answer, len(parts))
	if err := named(parts); err != nil {
		return fmt.Errorf("gather: %w", err)
	}
	err := together(ctx, len(parts), func(ctx context.Context, i int) error {
		p := parts[i]
		if p.err = p.wrong; p.err != nil {
			return fmt.Errorf("part %q: its fallback: %w", p.name, p.err)
		}
		results[i], p.err = p.ask(ctx, c)
		if p.err != nil && p.stands {
			results[i] = p.fallback
			return nil
		}
		return p.err
	})
	if err != nil {
		return fmt.Errorf("gather: %w", err)
	}
	for i, p := range parts {
		if err := results[i].decode(p.into); err != nil {
			return fmt.Errorf("gather: part %q: %w", p.name, err)
		}
	}
	return nil
}

// named finds parts that could not be told apart.
func named(parts []*Part) error {
	seen := map[string]bool{}
	for _, p := range parts {
		if p.name == "" || seen[p.name] {
			return notRun(session.ErrBadArgument, fmt.Sprintf("a part is named %q: every part has a name of its own", p.name))
		}
		seen[p.name] = true
	}
	return nil
}

func (p *Part) ask(ctx context.Context, c *Client) (answer, error) {
	if p.within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.within)
		defer cancel()
	}
	a, err := c.whole(ctx, p.pool, p.method, p.arg, nil, p.opts)
	if err != nil {
		return answer{}, fmt.Errorf("part %q, %s in pool %q: %w", p.name, p.method, p.pool, err)
	}
	return a, nil
}
