package zmqio

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	zmq "github.com/pebbe/zmq4"
)

// outlet watches the connection of one DEALER. libzmq renews a connection that
// broke without a word, and the ROUTER behind it sees somebody new who does not
// speak first: the probe message of ZMQ_PROBE_ROUTER is sent for the first
// connection only. So the DEALER's side has to say who it is, and for that it
// has to know.
type outlet struct {
	fd int32 // fixed after watch: of monitor; 0: nothing is watched

	look bool // owned by the loop: there may be an event

	// guarded by the socket's mu
	monitor *zmq.Socket // nil: nothing is watched, or not any more
	stood   bool        // the connection has stood before
}

func (o *outlet) watch(c *zmq.Context, zs *zmq.Socket) error {
	address := "inproc://connected." + strconv.FormatUint(lastMonitor.Add(1), 10)
	if err := zs.Monitor(address, zmq.EVENT_HANDSHAKE_SUCCEEDED); err != nil {
		return fmt.Errorf("zmqio: watch the connection: %w", err)
	}
	m, err := c.NewSocket(zmq.PAIR)
	if err != nil {
		return fmt.Errorf("zmqio: watch the connection: %w", err)
	}
	// Unlimited: libzmq's I/O thread blocks where the events do not fit.
	err = errors.Join(m.SetRcvhwm(0), m.SetLinger(0), m.Connect(address))
	fd, fdErr := m.GetFd()
	if err = errors.Join(err, fdErr); err != nil {
		_ = m.Close()
		return fmt.Errorf("zmqio: watch the connection: %w", err)
	}
	o.monitor, o.fd, o.look = m, int32(fd), true
	return nil
}

// renewed reports whether the connection has come up again since the last
// look.
func (o *outlet) renewed() (again bool) {
	if o.monitor == nil || !o.look {
		return false
	}
	o.look = false
	for {
		event, _, _, err := o.monitor.RecvEvent(zmq.DONTWAIT)
		if err != nil {
			return again
		}
		if event == zmq.EVENT_HANDSHAKE_SUCCEEDED {
			again = again || o.stood
			o.stood = true
		}
	}
}

func (o *outlet) close() error {
	if o.monitor == nil {
		return nil
	}
	err := o.monitor.Close()
	o.monitor = nil
	return err
}

// watched reports whether an endpoint's connections break and come back.
func watched(endpoint string) bool {
	return strings.HasPrefix(endpoint, "tcp://") || strings.HasPrefix(endpoint, "ipc://")
}
