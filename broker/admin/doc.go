// Package admin answers one question: how does an operator, a probe or a
// scraper look at a broker, and have it drain a node? It serves six pages over
// HTTP and nothing else:
//
//	/healthz    200 while the broker's loop comes round within LoopBound, else 503
//	/readyz     200 once it has also recovered from its start, else 503 and why
//	/metrics    Prometheus text, see Metrics
//	/v1/status  core.Status as JSON: nodes, slots, sessions, queues
//	/v1/events  server-sent events: what happens, as it happens
//	/v1/drain   POST, with DrainHeader: asks a node to end
//
// Nobody who asks here can hold the broker up. A page waits for the loop in
// its own goroutine, at most one question of each kind (glance) is under way
// at the loop at any time, and questions that come too fast share an answer.
// Connections, requests, headers, bodies and times are bounded.
//
// What it does not do: it changes nothing but by /v1/drain, and it knows nobody:
// who may look and drain is decided by the address it listens on, a loopback one
// by default.
package admin
