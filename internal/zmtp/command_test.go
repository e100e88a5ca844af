package zmtp

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// split takes a whole command frame apart.
func split(t *testing.T, frame []byte) (name string, rest []byte) {
	t.Helper()
	h, n, err := ReadHead(frame)
	if err != nil || !h.Command || int(h.Size) != len(frame)-n {
		t.Fatalf("%q is no command frame: %+v, %v", frame, h, err)
	}
	name, rest, err = SplitCommand(frame[n:])
	if err != nil {
		t.Fatal(err)
	}
	return name, rest
}

func TestReadyNamesItsKind(t *testing.T) {
	for _, kind := range []Kind{Router, Dealer, Req, Rep} {
		name, rest := split(t, AppendReady(nil, kind))
		got, err := ReadReady(rest)
		if name != Ready || got != kind || err != nil {
			t.Errorf("%s: %q, %q, %v", kind, name, got, err)
		}
	}
	other := "\x08Identity\x00\x00\x00\x02me\x0bSocket-Type\x00\x00\x00\x03REQ"
	if kind, err := ReadReady([]byte(other)); kind != Req || err != nil {
		t.Errorf("with an identity: %q, %v", kind, err)
	}
}

func TestMalformedReady(t *testing.T) {
	whole := "\x08Identity\x00\x00\x00\x02me\x0bSocket-Type\x00\x00\x00\x03REQ"
	for cut := range len(whole) {
		if _, err := ReadReady([]byte(whole[:cut])); !errors.Is(err, ErrCommand) {
			t.Errorf("of %q: %v, want ErrCommand", whole[:cut], err)
		}
	}
	if _, err := ReadReady([]byte("\x01x\xff\xff\xff\xffy")); !errors.Is(err, ErrCommand) {
		t.Errorf("a property of 4 GiB: %v, want ErrCommand", err)
	}
}

func TestPongReturnsTheContext(t *testing.T) {
	for _, context := range []string{"", "x", strings.Repeat("c", maxContext)} {
		frame, err := AppendPong(nil, []byte("\x00\x01"+context))
		if err != nil {
			t.Fatal(err)
		}
		if name, rest := split(t, frame); name != Pong || string(rest) != context {
			t.Errorf("%q: %q, %q", context, name, rest)
		}
	}
	for _, rest := range []string{"", "\x00", "\x00\x01" + strings.Repeat("c", maxContext+1)} {
		if frame, err := AppendPong(nil, []byte(rest)); !errors.Is(err, ErrCommand) || len(frame) != 0 {
			t.Errorf("a PING with %q: %q, %v", rest, frame, err)
		}
	}
	if name, rest := split(t, AppendPing(nil, 0x1234)); name != Ping || string(rest) != "\x12\x34" {
		t.Errorf("PING: %q, %q", name, rest)
	}
}

func TestErrorGivesItsReason(t *testing.T) {
	for _, c := range []struct{ reason, want string }{
		{"", ""}, {"not you", "not you"}, {strings.Repeat("r", 300), strings.Repeat("r", 200)},
	} {
		if name, rest := split(t, AppendError(nil, c.reason)); name != Error || ReadError(rest) != c.want {
			t.Errorf("%q: %q, %q", c.reason, name, ReadError(rest))
		}
	}
	for _, rest := range []string{"", "\x05cut"} {
		if got := ReadError([]byte(rest)); got != "no reason given" {
			t.Errorf("%q: %q", rest, got)
		}
	}
}

func TestKindsThatFit(t *testing.T) {
	for _, c := range []struct {
		one, other Kind
		fit        bool
	}{
		{Router, Dealer, true},
		{Router, Req, true},
		{Router, Router, true},
		{Router, Rep, false},
		{Dealer, Router, true},
		{Dealer, Rep, true},
		{Dealer, Dealer, true},
		{Dealer, Req, false},
		{Router, "", false},
		{"PUB", "SUB", false},
	} {
		if c.one.Fits(c.other) != c.fit {
			t.Errorf("%q to %q: %v", c.one, c.other, !c.fit)
		}
	}
}

// Whatever comes is understood or refused, and what is understood can be said again.
func FuzzCommands(f *testing.F) {
	f.Add(AppendReady(nil, Dealer)[shortHead:])
	f.Add(AppendError(nil, "no")[shortHead:])
	f.Add(AppendPing(nil, 7)[shortHead:])
	f.Add([]byte{})
	f.Add([]byte{255, 'x'})
	f.Fuzz(func(t *testing.T, body []byte) {
		name, rest, err := SplitCommand(body)
		if err != nil {
			if !errors.Is(err, ErrCommand) {
				t.Fatal(err)
			}
			return
		}
		if again := append(append([]byte{byte(len(name))}, name...), rest...); !bytes.Equal(again, body) {
			t.Errorf("%q split into %q and %q", body, name, rest)
		}
		if kind, err := ReadReady(rest); err == nil && len(kind) < 200 {
			_, properties := split(t, AppendReady(nil, kind))
			if again, err := ReadReady(properties); again != kind || err != nil {
				t.Errorf("kind %q became %q, %v", kind, again, err)
			}
		} else if err != nil && !errors.Is(err, ErrCommand) {
			t.Error(err)
		}
		if len(ReadError(rest)) > 255 {
			t.Error("a reason of more than 255 bytes")
		}
		if pong, err := AppendPong(nil, rest); err == nil {
			if _, context := split(t, pong); !bytes.Equal(context, rest[2:]) {
				t.Errorf("context %q became %q", rest[2:], context)
			}
		}
	})
}
