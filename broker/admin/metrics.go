package admin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/internal/version"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
)

// metricsMost bounds the pools and the nodes that get series of their own;
// names come from peers.
const metricsMost = 1000

// Metric describes one name that /metrics serves.
type Metric struct {
	Name   string
	Help   string
	Labels []string

	kind    prometheus.ValueType
	collect func(*sample) // calls emit once per series
}

// sample is one scrape.
type sample struct {
	metric *Metric
	desc   *prometheus.Desc
	out    chan<- prometheus.Metric
	st     *core.Status // nil where the loop does not come round
	round  time.Duration
	io     zmqio.Stats
}

func (s *sample) emit(value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(s.desc, s.metric.kind, value, labels...)
}

// Metrics lists everything that /metrics serves besides the Go and process
// collectors' own (go_*, process_*), by name.
func Metrics() []Metric {
	all := slices.Concat(brokerMetrics(), poolMetrics(), nodeMetrics(), countMetrics(), trafficMetrics())
	slices.SortFunc(all, func(a, b Metric) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func brokerMetrics() []Metric {
	return []Metric{
		gauge("limpet_build_info", "Always 1; the broker's version and protocol version as labels.", func(s *sample) {
			s.emit(1, version.String(), fmt.Sprint(wire.Version))
		}, "version", "protocol"),
		gauge("limpet_loop_ok", "1 if the broker's loop came round in time for this scrape; if 0, only traffic is shown.", func(s *sample) {
			s.emit(truth(s.st != nil))
		}),
		ofStatus("limpet_loop_round_seconds", "How long the broker's loop took to come round for this scrape.", func(s *sample) { s.emit(s.round.Seconds()) }),
		ofStatus("limpet_uptime_seconds", "Time since the broker was made.", func(s *sample) { s.emit(s.st.Uptime) }),
		ofStatus("limpet_epoch", "Master epoch.", func(s *sample) { s.emit(float64(s.st.Epoch)) }),
		ofStatus("limpet_recovering", "1 while the broker waits for nodes to come back after its start.", func(s *sample) { s.emit(truth(s.st.Recovering)) }),
		ofStatus("limpet_clients", "Clients known.", func(s *sample) { s.emit(float64(s.st.Clients)) }),
	}
}

func poolMetrics() []Metric {
	pools := func(name, help string, value func(*core.PoolStatus) float64) Metric {
		return ofStatus(name, help, func(s *sample) {
			for i := range min(len(s.st.Pools), metricsMost) {
				s.emit(value(&s.st.Pools[i]), s.st.Pools[i].Pool)
			}
		}, "pool")
	}
	return []Metric{
		pools("limpet_sessions", "Open sessions.", func(p *core.PoolStatus) float64 { return float64(p.Open) }),
		pools("limpet_slots_capacity", "Slots of all nodes together.", func(p *core.PoolStatus) float64 { return float64(p.Slots) }),
		pools("limpet_slots_most", "Slots of all nodes together, had all grown as far as they may.", func(p *core.PoolStatus) float64 { return float64(p.Most) }),
		pools("limpet_pool_nodes", "Nodes that serve the pool.", func(p *core.PoolStatus) float64 { return float64(p.Nodes) }),
		pools("limpet_queue_length", "Opens that wait for a slot.", func(p *core.PoolStatus) float64 { return float64(p.Waiting) }),
		pools("limpet_queue_room", "Opens that may wait at most.", func(p *core.PoolStatus) float64 { return float64(p.Room) }),
		pools("limpet_queue_longest_wait_seconds", "How long the longest waiting open has waited.", func(p *core.PoolStatus) float64 { return p.Longest }),
		ofStatus("limpet_slots", "Slots by what they are doing: free, offered, open, quarantined.", func(s *sample) {
			for i := range min(len(s.st.Pools), metricsMost) {
				p := &s.st.Pools[i]
				s.emit(float64(p.Free), p.Pool, "free")
				s.emit(float64(p.Offered), p.Pool, "offered")
				s.emit(float64(p.Open), p.Pool, "open")
				s.emit(float64(p.Quarantined), p.Pool, "quarantined")
			}
		}, "pool", "state"),
	}
}

// nodeStates are all that core.NodeStatus.State may be.
var nodeStates = []string{"alive", "late", "suspect", "cut off", "draining"}

func nodeMetrics() []Metric {
	nodes := func(name, help string, value func(*core.NodeStatus) float64) Metric {
		return ofStatus(name, help, func(s *sample) {
			for i := range min(len(s.st.Nodes), metricsMost) {
				s.emit(value(&s.st.Nodes[i]), s.st.Nodes[i].Node, s.st.Nodes[i].Name)
			}
		}, "node", "name")
	}
	return []Metric{
		nodes("limpet_node_slots", "Slots of the node.", func(n *core.NodeStatus) float64 { return float64(n.Slots) }),
		nodes("limpet_node_sessions", "Open sessions on the node.", func(n *core.NodeStatus) float64 { return float64(n.Open) }),
		nodes("limpet_node_silent_seconds", "Time since the node's last sign of life.", func(n *core.NodeStatus) float64 { return n.Silent }),
		nodes("limpet_node_loop_late_seconds", "How late the node's loop was by its own last beat.", func(n *core.NodeStatus) float64 { return n.LoopLate }),
		ofStatus("limpet_nodes", "Nodes by state: alive, late, suspect, cut_off, draining.", func(s *sample) {
			count := map[string]int{}
			for i := range s.st.Nodes {
				count[s.st.Nodes[i].State]++
			}
			for _, state := range nodeStates {
				s.emit(float64(count[state]), strings.ReplaceAll(state, " ", "_"))
			}
		}, "state"),
	}
}

func countMetrics() []Metric {
	counts := func(name, help string, value func(*core.Counts) uint64) Metric {
		m := ofStatus(name, help, func(s *sample) { s.emit(float64(value(&s.st.Counts))) })
		m.kind = prometheus.CounterValue
		return m
	}
	bad := ofStatus("limpet_bad_messages_total", "What peers sent that was refused as wrong, by error code (docs/protocol.md).", func(s *sample) {
		for _, code := range slices.Sorted(maps.Keys(s.st.Counts.Bad)) {
			s.emit(float64(s.st.Counts.Bad[code]), code.Error())
		}
	}, "code")
	bad.kind = prometheus.CounterValue
	resizes := ofStatus("limpet_pool_resizes_total", "Changes of a pool's slots on a node, by need: to more, to fewer.", func(s *sample) {
		s.emit(float64(s.st.Counts.Grown), "more")
		s.emit(float64(s.st.Counts.Shrunk), "fewer")
	}, "to")
	resizes.kind = prometheus.CounterValue
	return []Metric{
		resizes,
		counts("limpet_opens_total", "Opens taken into a queue; a free slot empties it at once.", func(c *core.Counts) uint64 { return c.Opens }),
		counts("limpet_opens_overloaded_total", "Opens refused because the queue was full.", func(c *core.Counts) uint64 { return c.Overloaded }),
		counts("limpet_opens_expired_total", "Opens whose wait was over before a slot came free.", func(c *core.Counts) uint64 { return c.Expired }),
		counts("limpet_nodes_lost_total", "Nodes that left or fell silent.", func(c *core.Counts) uint64 { return c.NodesLost }),
		counts("limpet_hung_total", "Calls that passed their budget without progress.", func(c *core.Counts) uint64 { return c.Hung }),
		counts("limpet_broadcasts_total", "Broadcasts begun.", func(c *core.Counts) uint64 { return c.Broadcasts }),
		counts("limpet_relayed_total", "Session messages passed on between clients and nodes.", func(c *core.Counts) uint64 { return c.Relayed }),
		counts("limpet_not_relayed_total", "Session messages whose receiver was not there.", func(c *core.Counts) uint64 { return c.NotPassed }),
		bad,
	}
}

func trafficMetrics() []Metric {
	counter := func(name, help string, collect func(*sample), labels ...string) Metric {
		return Metric{Name: name, Help: help, Labels: labels, kind: prometheus.CounterValue, collect: collect}
	}
	both := func(name, help string, value func(*zmqio.Stats) (in, out uint64)) Metric {
		return counter(name, help, func(s *sample) {
			in, out := value(&s.io)
			s.emit(float64(in), "in")
			s.emit(float64(out), "out")
		}, "direction")
	}
	one := func(name, help string, value func(*zmqio.Stats) uint64) Metric {
		return counter(name, help, func(s *sample) { s.emit(float64(value(&s.io))) })
	}
	return []Metric{
		both("limpet_frames_total", "Body frames on the broker's socket; each carries one or more envelopes.",
			func(t *zmqio.Stats) (in, out uint64) { return t.FramesIn, t.FramesOut }),
		both("limpet_envelopes_total", "Messages on the broker's socket.",
			func(t *zmqio.Stats) (in, out uint64) { return t.EnvelopesIn, t.EnvelopesOut }),
		both("limpet_traffic_bytes_total", "Bytes of frames on the broker's socket.",
			func(t *zmqio.Stats) (in, out uint64) { return t.BytesIn, t.BytesOut }),
		one("limpet_envelopes_dropped_total", "Messages given up because their peer was gone or did not take them.",
			func(t *zmqio.Stats) uint64 { return t.Dropped }),
		one("limpet_frames_malformed_total", "Frames that could not be taken apart; each is a bad message too.",
			func(t *zmqio.Stats) uint64 { return t.Malformed }),
		one("limpet_connections_cut_total", "Connections closed because a message on them did not end.", func(t *zmqio.Stats) uint64 { return t.Cut }),
		one("limpet_loop_naps_total", "How often the loop found nothing to do and slept.", func(t *zmqio.Stats) uint64 { return t.Parks }),
		gauge("limpet_peers", "Connections that can be sent to.", func(s *sample) { s.emit(float64(s.io.Peers)) }),
		gauge("limpet_peers_stalled", "Connections that do not take what waits for them.", func(s *sample) { s.emit(float64(s.io.Stalled)) }),
	}
}

func gauge(name, help string, collect func(*sample), labels ...string) Metric {
	return Metric{Name: name, Help: help, Labels: labels, kind: prometheus.GaugeValue, collect: collect}
}

// ofStatus is a metric that is missing while the loop does not come round.
func ofStatus(name, help string, collect func(*sample), labels ...string) Metric {
	return gauge(name, help, func(s *sample) {
		if s.st != nil {
			collect(s)
		}
	}, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// collector gives Prometheus one sample per scrape.
type collector struct {
	glance  *glance
	traffic func() zmqio.Stats
	bound   time.Duration
	metrics []Metric
	descs   []*prometheus.Desc
}

// registry holds the broker's metrics and those of its process.
func newRegistry(g *glance, traffic func() zmqio.Stats, bound time.Duration) *prometheus.Registry {
	c := &collector{glance: g, traffic: traffic, bound: bound, metrics: Metrics()}
	for i := range c.metrics {
		m := &c.metrics[i]
		c.descs = append(c.descs, prometheus.NewDesc(m.Name, m.Help, m.Labels, nil))
	}
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector. It waits for the loop, within the
// bound.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := sample{out: out, io: c.traffic()}
	if l, err := c.glance.at(context.Background(), c.bound); err == nil {
		s.st, s.round = &l.st, l.took
	}
	for i := range c.metrics {
		s.metric, s.desc = &c.metrics[i], c.descs[i]
		c.metrics[i].collect(&s)
	}
}
