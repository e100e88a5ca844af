package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// What a foreign node calls a next step and is none is an error that names where
// it came from.
func TestNextStepThatIsNone(t *testing.T) {
	on := onward{pool: "sum", method: "run"}
	for _, body := range []string{"", "\xc0", "\x81\xa5steps\x90", "\x81\xa5steps\x91\x80", "nonsense", "\x81\xa5steps\xdd\xff\xff\xff\xff"} {
		_, err := on.follow(t.Context(), answer{body: []byte(body), next: true})
		if !errors.Is(err, session.ErrBadMessage) || !strings.Contains(err.Error(), "sum.run names no next step") {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// A result that does not decode is not joined to others.
func TestBranchesThatCannotBeJoined(t *testing.T) {
	for _, body := range []string{"", "\x01\x02", "\xc1", "\x92\x01"} {
		_, err := joined([]branch{{name: "good", answer: answer{body: []byte{1}}}, {name: "bad", answer: answer{body: []byte(body)}}})
		if !errors.Is(err, session.ErrBadMessage) || !strings.Contains(err.Error(), `branch "bad"`) {
			t.Errorf("%q: %v", body, err)
		}
	}
	a, err := joined([]branch{{name: "z", answer: answer{body: []byte{1}}}, {name: "a", answer: answer{body: []byte("raw"), raw: true}}})
	if want := "\x82\xa1a\xc4\x03raw\xa1z\x01"; err != nil || string(a.body) != want {
		t.Errorf("%q, %v; want %q", a.body, err, want)
	}
}

// A path is named by its ends.
func TestTrail(t *testing.T) {
	var at trail
	var all []string
	for n := range 12 {
		at = at.then("p", fmt.Sprint(n))
		all = append(all, fmt.Sprint("p.", n))
		want := strings.Join(all, " > ")
		if len(all) > 2*trailEnds {
			want = strings.Join(all[:trailEnds], " > ") + " > ... > " + strings.Join(all[len(all)-trailEnds:], " > ")
		}
		if at.String() != want || at.last() != all[n] || at.hop() != n {
			t.Errorf("after %d: %s, last %s, hop %d; want %s", n, at, at.last(), at.hop(), want)
		}
	}
	err := at.into("x").into("y").failed(&wire.NextStep{Pool: "p", Method: "m"}, &session.Error{Code: session.ErrNoWorker, Outcome: session.NotRun})
	stage, ok := errors.AsType[*StageError](err)
	if !ok || stage.Branch != "x/y" || stage.Outcome != session.NotRun || errors.Is(err, session.NotRun) || !errors.Is(err, session.ErrNoWorker) {
		t.Errorf("%+v", err)
	}
}
