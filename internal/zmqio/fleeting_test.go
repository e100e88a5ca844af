package zmqio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// A handler that keeps nothing gets every message in the same memory, and still
// its own bytes; one that may keep it does not.
func TestFleetingMemory(t *testing.T) {
	for _, fleeting := range []bool{false, true} {
		t.Run(fmt.Sprint(fleeting), func(t *testing.T) {
			const messages = 1000
			places, wrong := map[*byte]bool{}, 0
			arrived := make(chan struct{}, messages)
			n := 0
			d := &desk{envelope: func(_ wire.Peer, env []byte) {
				places[&env[0]] = true
				if string(env) != fmt.Sprintf("%d %s", n, strings.Repeat("x", n%300)) {
					wrong++
				}
				n++
				arrived <- struct{}{}
			}}
			l, stop := start(t, d, Options{Fleeting: fleeting})
			endpoint := listen(t, l)
			from, _ := start(t, &desk{}, Options{})
			to := connect(t, from, endpoint)
			for i := range messages {
				if err := from.Send(to, fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", i%300))); err != nil {
					t.Fatal(err)
				}
				await(t, arrived, "the message") // or they come in one batch, which has memory of its own
			}
			stop()
			if wrong > 0 {
				t.Errorf("%d messages are not what was sent", wrong)
			}
			if fleeting == (len(places) == messages) {
				t.Errorf("%d messages in %d places", messages, len(places))
			}
		})
	}
}
