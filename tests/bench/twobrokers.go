package main

import (
	"context"

	"github.com/limpet-rpc/limpet/client"
)

// limpetTwoBrokers is limpetRelayed with two brokers in front of one node: half
// of the callers' calls go by each.
type limpetTwoBrokers struct{}

func (limpetTwoBrokers) Name() string { return "limpet-two-brokers" }

// Servers are the brokers, and a node of both.
func (limpetTwoBrokers) Servers() []Server {
	return []Server{{"broker", limpetBrokerRole}, {"broker-2", limpetBrokerRole}, {"node", limpetNodeRole}}
}

// Dial makes two clients, each of one broker.
func (limpetTwoBrokers) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	callers, err := limpetCallersAt(ctx, p.At[0], p.Sessions-p.Sessions/2, client.WithRelayOnly())
	if err != nil || p.Sessions < 2 {
		return callers, err
	}
	more, err := limpetCallersAt(ctx, p.At[1], p.Sessions/2, client.WithRelayOnly())
	return append(callers, more...), err
}
