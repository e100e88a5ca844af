package zmqio

// arenaSize is how much memory received bytes share. Who keeps an envelope keeps
// its arena: no more than a frame of many envelopes would be.
const arenaSize = 64 << 10

// arena is what a loop's connections are read into, one behind the other. What is
// used is not used again, for handlers may keep it, unless they say that they do
// not.
type arena struct{ whole, rest []byte }

// room returns what is free, at least so many bytes.
func (a *arena) room(least int) []byte {
	if len(a.rest) < least {
		a.whole = make([]byte, arenaSize)
		a.rest = a.whole
	}
	return a.rest
}

// use takes the first n bytes.
func (a *arena) use(n int) { a.rest = a.rest[n:] }

// reuse takes the arena back from handlers that have kept nothing of it.
func (a *arena) reuse() { a.rest = a.whole }
