package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/admin"
	mastercell "github.com/limpet-rpc/limpet/broker/cell"
	"github.com/limpet-rpc/limpet/broker/feed"
	"github.com/limpet-rpc/limpet/heartbeat"
)

// cellFlags are the flags of a broker that is a candidate of a cell.
type cellFlags struct {
	dir       string
	limit     time.Duration
	pairKills bool
}

func (c *cellFlags) flags(flags *pflag.FlagSet) {
	flags.StringVar(&c.dir, "cell", "", "`folder` of the cell: brokers that are given the same one elect a master among them")
	spanFlag(flags, &c.limit, "limit", heartbeat.DefaultLimit, mastercell.MinLimit, "how long a master may be silent before the others of its cell accuse it")
	flags.BoolVar(&c.pairKills, "pair-kills", false, "in a cell of two, the other one alone may kill a silent master")
}

// run is a candidate whose pages are at an address while it is master. What it
// tells of its elections and of its brokers is one feed.
func (c *cellFlags) run(ctx context.Context, o broker.Options, adminAt string) error {
	o.Feed = new(feed.Feed)
	all := mastercell.Options{Dir: c.dir, Limit: c.limit, PairKills: c.pairKills, Broker: o}
	all.Event = func(e mastercell.Event) { o.Feed.Tell(electionNews(e)) }
	var me *mastercell.Candidate
	if adminAt != adminOff {
		all.Beside = func(ctx context.Context, b *broker.Server) error {
			return adminBeside(ctx, adminAt, master{b, me}, o)
		}
	}
	me, err := mastercell.Join(all)
	if err != nil {
		return err
	}
	return me.Run(ctx)
}

// adminBeside serves a master's pages. The address may be the last master's
// for a moment still.
func adminBeside(ctx context.Context, address string, b admin.Broker, o broker.Options) error {
	pages, err := listenAdmin(address, b, o.Logger)
	for began := time.Now(); err != nil && time.Since(began) < mastercell.DefaultBind; pages, err = listenAdmin(address, b, o.Logger) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
	if err != nil {
		return err
	}
	return pages.Run(ctx)
}

// master is a broker that was elected.
type master struct {
	*broker.Server

	me *mastercell.Candidate
}

// Cell implements admin.Celled.
func (m master) Cell() admin.Cell {
	st := m.me.Status()
	page := admin.Cell{
		Dir: st.Dir, ID: st.Cell.String(), Self: st.Self.String(), Role: st.Role.String(), Epoch: st.Epoch, Limit: st.Limit.Seconds(),
		PairKills: st.PairKills, Votes: st.Votes, Voters: st.Of,
	}
	for _, p := range st.Candidates {
		page.Candidates = append(page.Candidates, admin.Candidate{
			ID: p.Candidate.String(), PID: p.PID, Program: p.Program, Master: p.Candidate == st.Holder.Candidate,
		})
	}
	for _, e := range st.Past {
		page.Elections = append(page.Elections, admin.Election{
			Ago: time.Since(e.At).Seconds(), From: e.From.String(), To: e.To.String(), About: e.About.String(), PID: e.PID,
			Votes: e.Votes, Voters: e.Of, Why: e.Why,
		})
	}
	return page
}

// electionNews is what happens in the cell, for the feed.
func electionNews(e mastercell.Event) feed.Event {
	what := "election"
	if e.To == heartbeat.Suspecting || e.To == heartbeat.Voting {
		what = "vote"
	}
	text := fmt.Sprintf("%s, was %s", e.To, e.From)
	if e.Why != "" {
		text += ": " + e.Why
	}
	if e.Of > 0 {
		text += fmt.Sprintf(" (%d of %d votes)", e.Votes, e.Of)
	}
	return feed.Event{Time: e.At, What: what, Name: e.About.String(), Text: text}
}
