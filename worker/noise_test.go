package worker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/worker/core"
)

// Who reads the log at night knows brokers by their endpoints.
func TestLogNamesTheBroker(t *testing.T) {
	q := noise{brokers: map[wire.Peer]string{5057134271882330112: "tcp://rock:7700"}}
	for peer, want := range map[wire.Peer]string{5057134271882330112: "broker=tcp://rock:7700 ", 3: "peer=3 "} {
		for _, what := range []string{core.EventBad, core.EventRegistered, core.EventBrokerLost, core.EventRefusedBy} {
			var out bytes.Buffer
			q.event(slog.New(slog.NewTextHandler(&out, nil)), &core.Event{What: what, Peer: peer})
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s of peer %d: %swant %s", what, peer, out.String(), want)
			}
		}
	}
}
