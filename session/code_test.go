package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCodesHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]Code{}
	for c, name := range Codes() {
		if other, twice := seen[name]; twice || name == "" || c == 0 {
			t.Errorf("%d and %d are %q", c, other, name)
		}
		seen[name] = c
		if c.Error() != name {
			t.Errorf("%d is %q, want %q", c, c.Error(), name)
		}
	}
	if got := Code(999).Error(); got != "code 999" {
		t.Errorf("an unknown code is %q", got)
	}
	Codes()[ErrBadMessage] = "changed"
	if ErrBadMessage.Error() == "changed" {
		t.Error("the caller's copy is the table")
	}
}

func TestErrorsAreFoundByCodeOutcomeAndCause(t *testing.T) {
	err := fmt.Errorf("call counter.add: %w", &Error{Code: ErrDeadline, Outcome: NotRun, Call: 5, Cause: context.DeadlineExceeded})
	for target, want := range map[error]bool{
		ErrDeadline: true, NotRun: true, context.DeadlineExceeded: true,
		ErrCancelled: false, Unknown: false, Done: false, context.Canceled: false,
	} {
		if errors.Is(err, target) != want {
			t.Errorf("errors.Is(%q, %q) is not %v", err, target, want)
		}
	}
	if errors.Is(&Error{Code: ErrMethod}, Done) {
		t.Error("done is no error")
	}
	if CodeOf(err) != ErrDeadline || CodeOf(fmt.Errorf("x: %w", ErrPast)) != ErrPast || CodeOf(errors.New("x")) != 0 || CodeOf(nil) != 0 {
		t.Error("CodeOf")
	}
	for c := range Codes() {
		if c.Retryable() != (c == ErrRecovering) {
			t.Errorf("%v is retryable: %v", c, c.Retryable())
		}
	}
}

func TestErrorIsOneLine(t *testing.T) {
	for want, e := range map[string]*Error{
		"overloaded":                                  {Code: ErrOverloaded},
		"overloaded: the queue is full":               {Code: ErrOverloaded, Text: "the queue is full"},
		"cancelled (call 3, not run)":                 {Code: ErrCancelled, Outcome: NotRun, Call: 3},
		"worker lost: gone (call 3, unknown outcome)": {Code: ErrWorkerLost, Outcome: Unknown, Call: 3, Text: "gone"},
		"worker lost (unknown outcome)":               {Code: ErrWorkerLost, Outcome: Unknown},
		"method failed: no such row":                  {Code: ErrMethod, Call: 3, Text: "no such row"},
		"deadline passed: context deadline exceeded":  {Code: ErrDeadline, Cause: context.DeadlineExceeded},
		"code 999": {Code: 999, Stack: "not shown"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if Done.Error() != "done" || NotRun.Error() != "not run" {
		t.Error("the outcomes' names")
	}
}

// However it is printed, a key is not shown.
func TestKeyIsNeverPrinted(t *testing.T) {
	key, err := NewKey(bytes.NewReader([]byte("0123456789abcdef")))
	if err != nil {
		t.Fatal(err)
	}
	var printed []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "% x"} {
		printed = append(printed, fmt.Sprintf(verb, key), fmt.Sprintf(verb, &key), fmt.Sprintf(verb, struct{ Key Key }{key}),
			fmt.Sprintf(verb, []Key{key}), fmt.Sprintf(verb, map[string]Key{"key": key}))
	}
	inJSON, err := json.Marshal(map[string]any{"key": key, "at": &key})
	if err != nil {
		t.Error(err)
	}
	printed = append(printed, string(inJSON), fmt.Sprint(key), key.String(), key.GoString())
	for _, text := range printed {
		for _, secret := range []string{"0123", "30313233", "48 49", "48,49", "0x30", "60 61", "110000", "0 1 2", "U+0030", "2829", "30 31"} {
			if strings.Contains(text, secret) {
				t.Errorf("the key is shown in %q", text)
			}
		}
	}
	if key.Hex() != "30313233343536373839616263646566" {
		t.Errorf("in the clear it is %q", key.Hex())
	}
}

func TestDrawnFromChance(t *testing.T) {
	if _, err := NewKey(strings.NewReader("too short")); err == nil {
		t.Error("a key of nine bytes")
	}
	id, err := NewID(bytes.NewReader(bytes.Repeat([]byte{0xff}, 16)))
	if err != nil || id.String() != "ffffffff-ffff-4fff-bfff-ffffffffffff" {
		t.Error(id, err)
	}
}

func TestNodeID(t *testing.T) {
	for _, n := range []NodeID{1, 0xabc, 1<<64 - 1} {
		if got, err := ParseNodeID(n.String()); err != nil || got != n || len(n.String()) != 16 {
			t.Errorf("%v came back as %v, %v", n, got, err)
		}
	}
	for _, bad := range []string{"", "0", "xyz", "-1", "10000000000000000"} {
		if n, err := ParseNodeID(bad); err == nil {
			t.Errorf("%q is node %v", bad, n)
		}
	}
}
