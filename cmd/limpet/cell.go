package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"github.com/limpet-rpc/limpet/broker"
	mastercell "github.com/limpet-rpc/limpet/broker/cell"
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

// options are those of a candidate whose pages are at an address while it is
// master.
func (c *cellFlags) options(o broker.Options, adminAt string) mastercell.Options {
	all := mastercell.Options{Dir: c.dir, Limit: c.limit, PairKills: c.pairKills, Broker: o}
	if adminAt != adminOff {
		all.Beside = func(ctx context.Context, b *broker.Server) error { return adminBeside(ctx, adminAt, b, o) }
	}
	return all
}

// adminBeside serves a master's pages. The address may be the last master's
// for a moment still.
func adminBeside(ctx context.Context, address string, b *broker.Server, o broker.Options) error {
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
