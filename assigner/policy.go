package assigner

import (
	"cmp"
	"fmt"
	"strings"
)

// Policy says which of the nodes with a slot to give is chosen. Whatever the
// policy, a node that is draining, away, held, or without a free slot is no choice,
// and a tie that is left at the end goes to the node that joined first.
type Policy uint8

const (
	// LeastLoaded takes the node with the smallest share of its slots in use
	// (used / slots of the pool, so that nodes of different size fill evenly);
	// among equals the one that was least recently given a session.
	LeastLoaded Policy = iota
	// RoundRobin takes the node that was least recently given a session,
	// whatever its load and size.
	RoundRobin
	// Pack takes the node with the largest share of its slots in use, so that
	// the others run empty and can be stopped.
	Pack
	// Spread takes the host with the smallest share of its slots in use (the
	// least recently used among equals), and on it the node that LeastLoaded
	// would take. A host is all nodes with the same value of the label
	// HostLabel; a node without that label is a host of its own.
	Spread
	// Equal gives a request that wants a value only to a node that said that very
	// value last (Node.Values, Table.SetValue), and any other to the node that
	// LeastLoaded would take; among equals it is LeastLoaded too.
	Equal
	// Lowest takes the node whose value is the lowest number, and Highest the one
	// whose is the highest; among equals the one that was least recently given a
	// session. A value that is no number comes last.
	Lowest
	Highest
)

// HostLabel is the label by which Spread tells hosts apart.
const HostLabel = "host"

var policyNames = [...]string{"least-loaded", "round-robin", "pack", "spread", "equal", "lowest", "highest"}

// Policies are the names of all policies, the default first.
func Policies() []string { return policyNames[:] }

// String is the policy's name as flags and status show it.
func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("policy(%d)", uint8(p))
}

// ParsePolicy reads what String writes.
func ParsePolicy(s string) (Policy, error) {
	for i, name := range policyNames {
		if s == name {
			return Policy(i), nil
		}
	}
	return LeastLoaded, fmt.Errorf("placement policy %q: want one of %s", s, strings.Join(policyNames[:], ", "))
}

// seatBefore orders the seats of one host: the better choice first.
func (p Policy) seatBefore(a, b *seat) bool {
	first := 0
	switch p {
	case RoundRobin:
	case Lowest:
		first = compareValues(a, b, 1)
	case Highest:
		first = compareValues(a, b, -1)
	case Pack:
		first = -compareLoad(a.used, a.slots, b.used, b.slots)
	default:
		first = compareLoad(a.used, a.slots, b.used, b.slots)
	}
	switch {
	case first != 0:
		return first < 0
	case p != Pack && a.lastGrant != b.lastGrant:
		return a.lastGrant < b.lastGrant
	default:
		return a.node.joined < b.node.joined
	}
}

// compareValues compares the numbers that two seats' nodes said, the smaller
// times sign first; one that said none comes last.
func compareValues(a, b *seat, sign float64) int {
	switch {
	case a.numbered && b.numbered:
		return cmp.Compare(sign*a.number, sign*b.number)
	case a.numbered:
		return -1
	case b.numbered:
		return 1
	}
	return 0
}

// hostBefore orders hosts; only Spread has more than one a pool.
func hostBefore(a, b *host) bool {
	if load := compareLoad(a.used, a.slots, b.used, b.slots); load != 0 {
		return load < 0
	}
	if a.lastGrant != b.lastGrant {
		return a.lastGrant < b.lastGrant
	}
	return a.since < b.since
}

// compareLoad compares used/slots of two parties without rounding. Both have
// slots, or they would not be compared.
func compareLoad(usedA, slotsA, usedB, slotsB int) int {
	a, b := int64(usedA)*int64(slotsB), int64(usedB)*int64(slotsA)
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
