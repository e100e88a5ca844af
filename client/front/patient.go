package front

import (
	"net"
	"time"
)

// patient is a listener whose connections wait for clients that do not read their
// answers, but not for ever: net/http sends small ones after the handler's end, when
// nobody else looks any more.
type patient struct{ net.Listener }

func (p patient) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &patientConn{Conn: c, time: writeTime}, nil
}

// patientConn gives each write its time. Once a second is enough to say so, and costs
// nothing.
type patientConn struct {
	net.Conn
	time time.Duration
	said time.Time // by the one who writes
}

func (c *patientConn) Write(b []byte) (int, error) {
	if now := time.Now(); now.Sub(c.said) >= min(time.Second, c.time/8) {
		c.said = now
		if err := c.SetWriteDeadline(now.Add(c.time)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// SetWriteDeadline implements net.Conn. None at all is no choice: net/http takes back
// after every answer what Write has said, which the next one may count on.
func (c *patientConn) SetWriteDeadline(until time.Time) error {
	if until.IsZero() {
		return nil
	}
	return c.Conn.SetWriteDeadline(until)
}

// CloseWrite is what net/http looks for where it ends a connection whose request it
// does not read to the end.
func (c *patientConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	return half.CloseWrite()
}
