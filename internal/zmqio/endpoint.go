package zmqio

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// EndpointError is an endpoint that could not be one, whatever the state of
// the machine.
type EndpointError struct{ error }

// Unwrap is what is wrong with it.
func (e EndpointError) Unwrap() error { return e.error }

// checkEndpoint refuses what is no endpoint, and transports that lead nowhere from
// here. Listening allows the port to be chosen by the system.
func checkEndpoint(endpoint string, listening bool) error {
	transport, address, found := strings.Cut(endpoint, "://")
	switch {
	case !found || address == "":
		return fmt.Errorf("want tcp://host:port or ipc://path, got %q", endpoint)
	case transport == "ipc":
		return nil
	case transport != "tcp":
		return fmt.Errorf("transport %q is not served, want tcp or ipc", transport)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if host == "" || host == "*" && !listening {
		return fmt.Errorf("endpoint %q names no host", endpoint)
	}
	if listening && (port == "*" || port == "0") {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return nil
}
