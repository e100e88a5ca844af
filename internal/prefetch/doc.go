// Package prefetch answers one question: how is memory brought near that is about
// to be used? A loop that knows which sessions the next calls are for asks for the
// memory of all of them before it looks at the first, so that it waits for it once and
// not once for each. Where everything is near anyway, with a few hundred sessions, that
// is worth nothing, and nobody asks.
//
// A call touches, on a node that has 100,000 sessions open, some 32 lines of 64 bytes that
// nobody has touched for long: of its session 7, of its task 3, of the channel and who
// waits at it 3, of the goroutine's own structure 7, of its stack 10, of its handler and
// start record 2. They are asked for in three steps, each of which finds where the next
// are: the places of the index, the sessions, their tasks when a portion has come
// (Foresee); what the goroutines will touch (Goroutine, Chan, Behind) when the portion has
// been stepped and before the first of them is woken. The runtime's own record of who
// waits at a channel cannot be found from outside.
//
// It is a hint to the processor: it reads nothing that counts, changes nothing, and
// cannot fail, wherever it points to. On processors that it is not written for it
// does nothing.
package prefetch
