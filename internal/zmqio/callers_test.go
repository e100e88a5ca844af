package zmqio

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// callers is a loop with one DEALER on which numbered goroutines call an echo.
type callers struct {
	loop    *Loop
	to      wire.Peer
	replies []chan uint64
	echoed  atomic.Int64
}

func newCallers(t testing.TB, n int, endpoint string, o Options) *callers {
	t.Helper()
	c := &callers{replies: make([]chan uint64, n)}
	for i := range c.replies {
		c.replies[i] = make(chan uint64, 1)
	}
	c.loop, _ = start(t, &desk{lent: true, envelope: func(_ wire.Peer, env []byte) {
		c.replies[binary.BigEndian.Uint32(env)] <- binary.BigEndian.Uint64(env[4:])
	}}, o)
	c.to = connect(t, c.loop, endpoint)
	return c
}

// call sends one numbered envelope of 64 bytes and waits for its echo.
func (c *callers) call(caller int, number uint64) error {
	var env [64]byte
	binary.BigEndian.PutUint32(env[:], uint32(caller))
	binary.BigEndian.PutUint64(env[4:], number)
	if err := c.loop.Send(c.to, env[:]); err != nil {
		return err
	}
	if got := <-c.replies[caller]; got != number {
		return fmt.Errorf("caller %d: reply %d to call %d", caller, got, number)
	}
	c.echoed.Add(1)
	return nil
}

// end waits for a caller's end, for as long as any of them is answered: how long
// so many calls take is the machine's to say.
func (c *callers) end(t *testing.T, finished <-chan error) error {
	t.Helper()
	for {
		before := c.echoed.Load()
		select {
		case err := <-finished:
			return err
		case <-time.After(patience / 4):
		}
		if c.echoed.Load() == before {
			return await(t, finished, "a caller's end, or another echo")
		}
	}
}

func TestNoWakeUpIsLost(t *testing.T) {
	const calls = 24_000
	for _, n := range []int{1, 2, 64} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			// Ticks would hide a lost wake-up, so that there are none.
			_, endpoint := echo(t, Options{Tick: time.Hour})
			c := newCallers(t, n, endpoint, Options{Tick: time.Hour})
			finished := make(chan error, n)
			for caller := range n {
				go func() {
					chance := rand.New(rand.NewPCG(uint64(n), uint64(caller)))
					for i := range uint64(calls / n) {
						if chance.IntN(16) == 0 {
							// Long enough for both loops to park.
							time.Sleep(time.Duration(chance.IntN(60)) * time.Microsecond)
						}
						if err := c.call(caller, i); err != nil {
							finished <- err
							return
						}
					}
					finished <- nil
				}()
			}
			for range n {
				if err := c.end(t, finished); err != nil {
					t.Fatal(err)
				}
			}
			if c.loop.Stats().Parks == 0 {
				t.Error("the loop has never parked, so nothing was tested")
			}
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			server, endpoint := echo(b, Options{})
			c := newCallers(b, n, endpoint, Options{})
			if err := c.call(0, 0); err != nil {
				b.Fatal(err)
			}
			before := c.loop.Stats()
			b.ReportAllocs()
			b.ResetTimer()
			c.run(b, n)
			b.StopTimer()
			after := c.loop.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			b.ReportMetric(float64(after.EnvelopesOut-before.EnvelopesOut)/float64(after.FramesOut-before.FramesOut), "env/frame")
			b.ReportMetric(float64(server.Stats().Parks)/float64(b.N), "parks/call")
		})
	}
}

func (c *callers) run(b *testing.B, n int) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	for caller := range n {
		all.Go(func() {
			for i := uint64(0); left.Add(-1) >= 0; i++ {
				if err := c.call(caller, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	runtime.KeepAlive(c)
}
