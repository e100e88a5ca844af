package wire

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func name(field, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", field)
	}
	return short(field, s, MaxName)
}

func short(field, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s of %d bytes, at most %d", field, len(s), most)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s is not UTF-8", field)
	}
	return nil
}

// coded wants the reason where there has to be one.
func coded(c session.Code) error {
	if c == 0 {
		return errCode
	}
	return nil
}

var errCode = errors.New("code is missing")

func given(field string, id uuid.UUID) error {
	if id == uuid.Nil {
		return fmt.Errorf("%s is missing", field)
	}
	return nil
}

func labels(m map[string]string) error {
	if len(m) > MaxLabels {
		return fmt.Errorf("labels: %d of them, at most %d", len(m), MaxLabels)
	}
	for k, v := range m {
		if k == "" || len(k) > MaxName || len(v) > MaxName {
			return fmt.Errorf("labels: a key is empty, or a key or value over %d bytes", MaxName)
		}
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return errors.New("labels: a key or value is not UTF-8")
		}
	}
	return nil
}

// Check reports an impossible field.
func (m *Hello) Check() error {
	switch m.Role {
	case RoleClient, RoleNode, RoleBroker:
	default:
		return fmt.Errorf("role is %.20q, want client, node or broker", m.Role)
	}
	if m.Min > m.Max || m.Max == 0 {
		return fmt.Errorf("min %d, max %d: no range of versions", m.Min, m.Max)
	}
	return first(given("id", m.ID), short("name", m.Name, MaxName), short("program", m.Program, MaxName))
}

// Check reports an impossible field.
func (m *Welcome) Check() error {
	return first(given("broker", m.Broker), short("name", m.Name, MaxName), short("program", m.Program, MaxName))
}

// Check reports an impossible field.
func (m *Error) Check() error { return short("text", m.Text, MaxText) }

// Check reports an impossible field.
func (m *Identify) Check() error { return given("broker", m.Broker) }

// Check reports an impossible field.
func (m *Beat) Check() error {
	if most := max(len(m.Values), len(m.Sizes), len(m.Queues)); most > MaxPools {
		return fmt.Errorf("values, sizes or queues: %d of them, at most %d", most, MaxPools)
	}
	for pool, value := range m.Values {
		if err := first(name("values: pool", pool), short("values: value", value, MaxName)); err != nil {
			return err
		}
	}
	for i := range m.Sizes {
		s := &m.Sizes[i]
		if err := first(name("sizes: pool", s.Pool), short("sizes: why", s.Why, MaxName), slots("slots", s.Slots), slots("was", s.Was)); err != nil {
			return err
		}
	}
	for i := range m.Queues {
		if err := name("queues: pool", m.Queues[i].Pool); err != nil {
			return err
		}
	}
	return nil
}

func slots(field string, n int) error {
	if n < 0 || n > MaxSlots {
		return fmt.Errorf("%s: %d slots, want 0 to %d", field, n, MaxSlots)
	}
	return nil
}

// Check reports an impossible field.
func (m *Open) Check() error {
	return first(given("client", m.Client), given("request", m.Request), name("pool", m.Pool), labels(m.Labels),
		short("method", m.Method, MaxMethod), short("want", m.Want, MaxName), traced(m.Trace))
}

// Check reports an impossible field.
func (m *Opened) Check() error {
	if m.Node == 0 {
		return fmt.Errorf("node is missing")
	}
	if m.Worker < 0 {
		return fmt.Errorf("worker is %d", m.Worker)
	}
	return first(given("request", m.Request), given("session", m.Session), name("pool", m.Pool),
		short("node_name", m.NodeName, MaxName), short("endpoint", m.Endpoint, MaxName))
}

// Check reports an impossible field.
func (m *Refused) Check() error {
	return first(given("request", m.Request), coded(m.Code), short("text", m.Text, MaxText))
}

// Check reports an impossible field.
func (m *Queued) Check() error { return given("request", m.Request) }

// Check reports an impossible field.
func (m *Withdraw) Check() error {
	return first(given("client", m.Client), given("request", m.Request))
}

// Check reports an impossible field.
func (m *Offer) Check() error {
	return first(given("client", m.Client), given("request", m.Request), name("pool", m.Pool), short("method", m.Method, MaxMethod), traced(m.Trace))
}

// Check reports an impossible field.
func (m *Live) Check() error {
	if m.Worker < 0 {
		return fmt.Errorf("worker is %d", m.Worker)
	}
	if m.Epoch == 0 {
		return errors.New("epoch is missing")
	}
	return first(given("client", m.Client), given("request", m.Request), given("session", m.Session), name("pool", m.Pool))
}

// Check reports an impossible field.
func (m *Accept) Check() error { return m.Live.Check() }

// Check reports an impossible field.
func (m *Decline) Check() error {
	return first(given("client", m.Client), given("request", m.Request), name("pool", m.Pool), coded(m.Code), short("text", m.Text, MaxText))
}

// Check reports an impossible field.
func (m *Revoke) Check() error {
	return first(given("client", m.Client), given("request", m.Request), coded(m.Code))
}

// Check reports an impossible field.
func (m *Register) Check() error {
	if m.Node == 0 {
		return fmt.Errorf("node is missing")
	}
	if len(m.Pools) > MaxPools {
		return fmt.Errorf("pools: %d of them, at most %d", len(m.Pools), MaxPools)
	}
	for i := range m.Pools {
		if err := name("pools: name", m.Pools[i].Name); err != nil {
			return err
		}
		if err := m.Pools[i].check(); err != nil {
			return fmt.Errorf("pool %.40q: %w", m.Pools[i].Name, err)
		}
	}
	for i := range m.Live {
		if err := m.Live[i].Check(); err != nil {
			return fmt.Errorf("live[%d]: %w", i, err)
		}
	}
	return first(name("name", m.Name), short("host", m.Host, MaxName), short("endpoint", m.Endpoint, MaxName), labels(m.Labels))
}

// MaxSlots bounds what a node may claim for a pool.
const MaxSlots = 1 << 24

func (p *Pool) check() error {
	if p.Slots < 0 || p.Slots > MaxSlots {
		return fmt.Errorf("%d slots, want 0 to %d", p.Slots, MaxSlots)
	}
	if len(p.Methods) > MaxMethods {
		return fmt.Errorf("methods: %d of them, at most %d", len(p.Methods), MaxMethods)
	}
	for _, m := range p.Methods {
		if err := name("methods", m); err != nil {
			return err
		}
	}
	return first(short("policy", p.Policy, MaxName), short("value", p.Value, MaxName), slots("least", p.Least), slots("most", p.Most))
}

// Check reports an impossible field.
func (m *Registered) Check() error { return nil }

// Check reports an impossible field.
func (m *Ended) Check() error {
	return first(given("session", m.Session), coded(m.Code), short("text", m.Text, MaxText))
}

// Check reports an impossible field.
func (m *Lost) Check() error {
	return first(coded(m.Code), short("text", m.Text, MaxText), paired(m.Sessions, m.Started, true))
}

// Check reports an impossible field.
func (m *Obituary) Check() error {
	if m.Node == 0 {
		return errors.New("node is missing")
	}
	return first(short("text", m.Text, MaxText), short("dump", m.Dump, MaxDump), paired(m.Sessions, m.Started, false))
}

// Check reports an impossible field.
func (m *Autopsy) Check() error {
	if m.Worker < 0 {
		return fmt.Errorf("worker is %d", m.Worker)
	}
	return first(given("session", m.Session), name("pool", m.Pool), short("method", m.Method, MaxMethod),
		short("stack", m.Stack, MaxStack), short("native", m.Native, MaxStack), short("done", m.Done, MaxText), traced(m.Trace))
}

func paired(sessions []session.ID, started []uint64, optional bool) error {
	if len(started) != len(sessions) && (!optional || len(started) != 0) {
		return fmt.Errorf("started: %d numbers for %d sessions", len(started), len(sessions))
	}
	return nil
}

// Check reports an impossible field.
func (m *Drain) Check() error { return nil }

// Check reports an impossible field.
func (m *Leave) Check() error { return nil }

// LimitsOf puts a session's limits on the wire.
func LimitsOf(l session.Limits) Limits {
	return Limits{Lease: Millis(l.Lease), Idle: Millis(l.Idle), MaxAge: Millis(l.MaxAge), Window: uint16(min(max(l.Window, 0), session.MaxWindow))}
}

// Session takes them off the wire.
func (l Limits) Session() session.Limits {
	ms := func(v uint32) time.Duration { return time.Duration(v) * time.Millisecond }
	return session.Limits{Lease: ms(l.Lease), Idle: ms(l.Idle), MaxAge: ms(l.MaxAge), Window: int(l.Window)}
}
