package zmqio

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// Envelopes of whatever sizes come as they were sent, and nobody who appends to one
// writes into the next.
func TestEnvelopesAreApart(t *testing.T) {
	const messages, dealers = 4000, 3
	kept := map[wire.Peer][][]byte{}
	done := make(chan struct{})
	count := 0
	l, _ := start(t, &desk{lent: true, envelope: func(from wire.Peer, env []byte) {
		if cap(env) != len(env) {
			t.Errorf("appending to envelope %d would write into what came after it", count)
		}
		kept[from] = append(kept[from], bytes.Clone(env))
		if count++; count == messages*dealers {
			close(done)
		}
	}}, Options{})
	endpoint := listen(t, l)
	var sending sync.WaitGroup
	for dealer := range dealers {
		s := raw(t, zmq.DEALER, endpoint)
		sending.Go(func() {
			chance := rand.New(rand.NewPCG(1, uint64(dealer)))
			for n := range messages {
				if _, err := s.SendBytes(body(string(someBytes(chance, dealer, n))), 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	await(t, done, "every envelope")
	sending.Wait()
	if len(kept) != dealers {
		t.Fatalf("from %d peers, want %d", len(kept), dealers)
	}
	for _, envelopes := range kept {
		dealer := int(envelopes[0][0])
		chance := rand.New(rand.NewPCG(1, uint64(dealer)))
		for n, env := range envelopes {
			if want := someBytes(chance, dealer, n); !bytes.Equal(env, want) {
				t.Fatalf("envelope %d of dealer %d: %d bytes, not the %d that were sent", n, dealer, len(env), len(want))
			}
		}
	}
}

// someBytes are those of message n: mostly few, and often about as many as make a
// part large, or fill an arena.
func someBytes(chance *rand.Rand, dealer, n int) []byte {
	size := 2 + chance.IntN(200)
	switch chance.IntN(20) {
	case 0:
		size = 8192 - blockHead - 8 + chance.IntN(16)
	case 1:
		size = 32<<10 - 100 + chance.IntN(200)
	}
	env := bytes.Repeat([]byte{byte(n), byte(n >> 8), byte(size)}, size/3+1)[:size]
	env[0] = byte(dealer)
	return env
}
