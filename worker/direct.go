package worker

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// directOff is the Options.Direct of a node that clients reach by brokers only.
const directOff = "off"

// errNoAddress is a direct endpoint that names no address to tell to clients.
var errNoAddress = errors.New("it listens at every address: Advertise must say by which one clients reach it")

// listen opens the direct path and returns the endpoint that clients are told,
// empty for none. By default the node listens where it is reached from its
// first broker; where that cannot be had, it does without and says so. What was
// asked for and cannot be had is an error.
func (n *node) listen(o Options) (endpoint string, err error) {
	if o.Direct == directOff {
		return "", nil
	}
	at := o.Direct
	if at == "" {
		host, err := addressTowards(firstBroker(o.Broker))
		if err != nil {
			n.log.Warn("no direct path: calls go by the broker", "error", err)
			return "", nil
		}
		at = "tcp://" + net.JoinHostPort(host, "*")
	}
	actual, err := n.loop.Listen(at)
	switch {
	case err != nil && o.Direct == "":
		n.log.Warn("no direct path: calls go by the broker", "error", err)
		return "", nil
	case err != nil:
		return "", fmt.Errorf("direct path %q: %w", at, err)
	case o.Advertise != "":
		return o.Advertise, nil
	case everywhere(actual):
		return "", fmt.Errorf("direct path %q: %w", at, errNoAddress)
	}
	return actual, nil
}

// addressTowards is this machine's address on the way to an endpoint. Nothing
// is sent there.
func addressTowards(endpoint string) (string, error) {
	at, tcp := strings.CutPrefix(endpoint, "tcp://")
	if !tcp {
		return "127.0.0.1", nil // the broker is on this machine
	}
	d := net.Dialer{Timeout: time.Second} // for its name to be looked up
	c, err := d.Dial("udp", at)
	if err != nil {
		return "", fmt.Errorf("find the address towards %s: %w", endpoint, err)
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	return host, err
}

// everywhere reports an endpoint that is bound to all addresses.
func everywhere(endpoint string) bool {
	at, tcp := strings.CutPrefix(endpoint, "tcp://")
	if !tcp {
		return false
	}
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "*" || host == "" || ip != nil && ip.IsUnspecified()
}
