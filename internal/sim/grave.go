package sim

import (
	"strings"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// A grave is what is known of a node's death. Here it is judged what becomes of
// the calls that were in flight on it.
type grave struct {
	at     time.Duration
	read   time.Duration // when its start record was read, 0: it was not
	reader string        // the node that did, "" for a broker
	heir   session.NodeID
}

// kill is the death of a node with calls in flight.
type kill struct {
	node  *nodeRecord
	calls []*callRecord
}

// killed notes the calls that are in flight on a node that crashes.
func (t *truth) killed(n *nodePart) {
	k := kill{node: t.nodes[n.id]}
	k.node.grave.at = t.w.now
	for _, c := range t.calls {
		if s := t.sessions[c.session]; !c.ended && s != nil && s.node == k.node && !s.over && c.client.alive {
			k.calls = append(k.calls, c)
		}
	}
	if len(k.calls) > 0 {
		t.kills = append(t.kills, k)
	}
}

// readBy notes who read a dead node's start record; nil is a broker.
func (t *truth) readBy(r *startRecord, n *nodePart) {
	g := &t.nodes[r.node].grave
	g.read = t.w.now
	if n != nil {
		g.reader, g.heir = n.name, n.id
	}
}

// byRecord reports that a broker gave a node up by its start record.
func byRecord(text string) bool {
	return strings.HasPrefix(text, session.Death{}.WithDefaults().Text)
}

// shown reports that the start record of a dead node shows a call as not
// started, and that there was nobody who could say anything else: every broker
// knew the node until it had the record.
func (t *truth) shown(s *sessionRecord, c *callRecord, err *session.Error) bool {
	if s.node == nil || !s.node.died || err.Code == session.ErrSessionMoved || c.number <= s.last || s.node.holds[s.seat] != s.id {
		return false
	}
	for _, b := range t.w.brokers {
		if !b.alive || !b.buried[s.node.id] {
			return false
		}
	}
	return true
}

// silent judges that a broker gives up a node by its silence. Where nothing is
// lost, a record that some node has read in time comes in time.
func (t *truth) silent(b *brokerPart, n *nodeRecord) {
	g := &n.grave
	if g.reader == "" || t.nodes[g.heir].died {
		return // nobody has it, or he took it along
	}
	if !t.w.plan.loses() && g.read <= g.at+graveTime {
		t.w.fail("%s gives %s up by its silence, although %s had read its start record at %s", b.name, n.name, g.reader, g.read)
	}
}

// graveTime is how long after a node's death its record may be read and still
// has to reach the brokers before they give the node up by its silence.
const graveTime = time.Second
