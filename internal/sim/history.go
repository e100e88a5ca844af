package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// note writes one line of the history, if somebody wants it. Envelopes among
// the arguments are decoded.
func (w *World) note(format string, args ...any) {
	if w.history == nil {
		return
	}
	for i, a := range args {
		if env, ok := a.([]byte); ok {
			args[i] = describe(env)
		}
	}
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(w.history, "%10.4f %s\n", w.now.Seconds(), line)
}

// describe decodes an envelope into one line.
func describe(env []byte) string {
	kind := wire.KindOf(env)
	if !kind.ToWorker() && !kind.ToHolder() {
		m, err := wire.ParseControl(env)
		if err != nil {
			return fmt.Sprintf("%s that does not decode: %v", kind, err)
		}
		return fmt.Sprintf("%s %s", kind, short(m))
	}
	h, rest, err := wire.ParseHeader(env)
	if err != nil {
		return fmt.Sprintf("%s that does not decode: %v", kind, err)
	}
	s := fmt.Sprintf("%s n=%d ack=%d session=%s epoch=%d node=%s via=%d flags=%#x", kind, h.Number, h.Ack, h.Session.String()[:8], h.Epoch, h.Node.String()[:6], h.Via, uint8(h.Flags))
	if h.Budget > 0 {
		s += " budget=" + h.Budget.Round(time.Millisecond).String()
	}
	switch kind {
	case wire.KindCall:
		if _, args, err := wire.CutMethod(&h, rest); err == nil {
			s += " " + describeWork(args)
		}
	case wire.KindFail, wire.KindExpired:
		s += fmt.Sprintf(" %q %s: %s", h.Code.Error(), h.Outcome().Error(), wire.ParseFailure(rest).Text)
	case wire.KindReply:
		s += " " + describeReply(rest)
	default:
		if h.Code != 0 {
			s += fmt.Sprintf(" %q", h.Code.Error())
		}
		if len(rest) > 0 {
			s += fmt.Sprintf(" %d sessions listed", len(rest)/16)
		}
	}
	return s
}

// short prints a control message with ids cut to what tells them apart.
func short(m wire.Control) string {
	switch m := m.(type) {
	case *wire.Hello:
		return fmt.Sprintf("%s %s beat=%d", m.Role, m.Name, m.Beat)
	case *wire.Open:
		return fmt.Sprintf("request=%s pool=%s wait=%d", m.Request.String()[:8], m.Pool, m.Wait)
	case *wire.Opened:
		return fmt.Sprintf("request=%s session=%s node=%s worker=%d incarnation=%d epoch=%d", m.Request.String()[:8], m.Session.String()[:8], m.NodeName, m.Worker, m.Incarnation, m.Epoch)
	case *wire.Refused:
		return fmt.Sprintf("request=%s %q %s", m.Request.String()[:8], m.Code.Error(), m.Text)
	case *wire.Withdraw:
		return fmt.Sprintf("request=%s", m.Request.String()[:8])
	case *wire.Offer:
		return fmt.Sprintf("request=%s pool=%s epoch=%d", m.Request.String()[:8], m.Pool, m.Epoch)
	case *wire.Accept:
		return fmt.Sprintf("seq=%d %s", m.Seq, shortLive(&m.Live))
	case *wire.Decline:
		return fmt.Sprintf("seq=%d request=%s %q %s", m.Seq, m.Request.String()[:8], m.Code.Error(), m.Text)
	case *wire.Revoke:
		return fmt.Sprintf("request=%s %q", m.Request.String()[:8], m.Code.Error())
	case *wire.Register:
		var s strings.Builder
		fmt.Fprintf(&s, "seq=%d part=%d more=%v %s drain=%v live:", m.Seq, m.Part, m.More, m.Name, m.Drain)
		for i := range m.Live {
			s.WriteString(" [" + shortLive(&m.Live[i]) + "]")
		}
		return s.String()
	case *wire.Ended:
		return fmt.Sprintf("seq=%d session=%s %q %s", m.Seq, m.Session.String()[:8], m.Code.Error(), m.Text)
	case *wire.Lost:
		var s strings.Builder
		fmt.Fprintf(&s, "node=%s %q:", m.Node.String()[:6], m.Text)
		for _, id := range m.Sessions {
			s.WriteString(" " + id.String()[:8])
		}
		return s.String()
	case *wire.Queued:
		return fmt.Sprintf("request=%s place=%d", m.Request.String()[:8], m.Place)
	default:
		return fmt.Sprintf("%+v", m)
	}
}

func shortLive(l *wire.Live) string {
	return fmt.Sprintf("session=%s request=%s worker=%d incarnation=%d", l.Session.String()[:8], l.Request.String()[:8], l.Worker, l.Incarnation)
}
