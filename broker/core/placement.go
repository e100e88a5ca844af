package core

import (
	"fmt"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/internal/wire"
)

// policyOf names the first policy of a Register that there is not.
func policyOf(m *wire.Register) error {
	for i := range m.Pools {
		p := &m.Pools[i]
		if p.Policy == "" {
			continue
		}
		if _, err := assigner.ParsePolicy(p.Policy); err != nil {
			return fmt.Errorf("pool %.40q: %w", p.Name, err)
		}
	}
	return nil
}

// declare gives pools the policies that a node names for them.
func (c *Core) declare(pools []wire.Pool) {
	for i := range pools {
		if policy, err := assigner.ParsePolicy(pools[i].Policy); err == nil { // else it names none
			c.table.SetPolicy(pools[i].Name, policy)
		}
	}
}

func valuesOf(pools []wire.Pool) map[string]string {
	values := map[string]string{}
	for i := range pools {
		if pools[i].Value != "" {
			values[pools[i].Name] = pools[i].Value
		}
	}
	return values
}

// newValues takes what a node says of itself in a beat. Pools that it has not
// registered are not its to speak of.
func (c *Core) newValues(n *node, values map[string]string) {
	for i := range n.pools {
		pool := n.pools[i].Name
		if value, said := values[pool]; said && value != n.values[pool] {
			n.values[pool] = value
			c.table.SetValue(n.id, pool, value)
		}
	}
}
