// Package cache answers one question: where do the handlers and clients of a
// pool keep a value for each other for a while? One node of the pool hosts a
// small key/value service; whoever has a client.Client uses it, handlers with one
// that their program dials.
//
//	served, err := cache.Pool(cache.Config{Pool: "jobs"})          one node of the pool:
//	worker.Serve(ctx, o, pool, served)                               beside its other pools
//	c := cache.New(conn, "jobs"); c.Set, c.Get, c.Delete, c.Swap    everybody else
//
// The service is a pool called NAME/cache: a session for each Cache that is used,
// with calls as all others, answered by the node without a broker in between
// where it can be reached.
//
//	Cache.Get -> the one session -> node -> store (otter) -> reply
//
// # One host, and what its end means
//
// Exactly one node hosts it: give Pool to the Serve of one node, not to all, and
// not to one with SlotsPerProcess. Two that host it are two caches, and a client
// uses the one to which the broker has sent its session; 'limpet status' shows
// the pool with 2 nodes then. Whoever wants several on purpose chooses by the
// node's label (On).
//
// The cache is memory of that node. When it ends, the cache is gone. What was
// under way ends as lost, or is done anew where a host is there again: Get and
// Delete then say ErrMissing, Set stores, and Swap, which must not be done twice,
// ends as client.ErrUnknown. Without a host, or without a broker, every operation
// fails as an Open does whose wait is 2 s: that is no ErrMissing, because nobody
// has looked.
//
// # Bounds
//
// A value over the limit is refused with ErrTooLarge. The keys and values of all
// namespaces together are bounded in bytes; what is seldom used makes room. So
// any entry may be gone at any time, also one that was just set: a cache is no
// place for what exists nowhere else. An entry past its time is missing; its bytes
// are given back when somebody looks for it, or room is needed.
//
// The store is github.com/maypok86/otter/v2: Apache-2.0, without dependencies,
// bounded by weight, with an atomic Compute for Swap. Without its expiry, which
// would bring a goroutine that nobody ends, it has none.
//
// What it does not do: it keeps nothing on disk, copies nothing to another node,
// and keeps nobody out: a namespace is a prefix, not a right.
package cache
