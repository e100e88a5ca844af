package chaos

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// ofTheProxy are goroutines that toxiproxy leaves behind when it resets a
// connection: the stage in front of the one that did so waits for ever.
var ofTheProxy = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
}

// proxy is a toxiproxy in front of one endpoint.
type proxy struct {
	t  testing.TB
	is *toxiproxy.Proxy
}

// newProxy starts a proxy that ends with the test.
func newProxy(t testing.TB, name, url string) *proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.New(io.Discard))
	p := &proxy{t: t, is: toxiproxy.NewProxy(server, name, "127.0.0.1:0", hostOf(t, url))}
	if err := p.is.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.is.Stop)
	return p
}

// url is where the proxy listens.
func (p *proxy) url() string { return "tcp://" + p.is.Listen }

var directions = []string{"upstream", "downstream"}

// add adds a toxic in one direction, to that share of the connections.
func (p *proxy) add(kind, direction string, share float64) {
	p.t.Helper()
	text := fmt.Sprintf(`{"name":"%s %s","type":%q,"stream":%q,"toxicity":%g,"attributes":{"timeout":0}}`, kind, direction, kind, direction, share)
	if _, err := p.is.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
		p.t.Error(err)
	}
}

func (p *proxy) remove(kind, direction string) {
	p.t.Helper()
	if err := p.is.Toxics.RemoveToxic(context.Background(), kind+" "+direction); err != nil {
		p.t.Error(err)
	}
}

// cut lets nothing through in either direction; the connections stay.
func (p *proxy) cut() {
	p.t.Helper()
	for _, d := range directions {
		p.add("timeout", d, 1)
	}
}

// mend ends a cut. The connections of that time break, what was sent on them is
// lost.
func (p *proxy) mend() {
	p.t.Helper()
	for _, d := range directions {
		p.remove("timeout", d)
	}
}
