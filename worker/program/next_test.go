package program_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// A child's call goes on where it says: with one step, with branches, and where
// those meet. Each step is a session, and so a child, of its own.
func TestChildGoesOn(t *testing.T) {
	st := newStage(t, "act", nil)
	s := st.open()
	for params, want := range map[string]any{
		`{"pool":"play","method":"add","arg":5}`:                                                 int64(5),
		`{"pool":"play","method":"params"}`:                                                      "none",
		`{"pool":"play","method":"params","arg":null}`:                                           "none",
		`{"pool":"play","method":"params","arg":{"a":[1,2.0]}}`:                                  map[string]any{"a": []any{int64(1), 2.0}},
		`{"branches":[{"name":"x","pool":"play","method":"params"}]}`:                            map[string]any{"x": "none"},
		`{"pool":"play","method":"on","arg":"{\"pool\":\"play\",\"method\":\"add\",\"arg\":7}"}`: int64(7),
		`{"branches":[{"name":"l","pool":"play","method":"add","arg":1},{"name":"r","pool":"play","method":"add","arg":[2]}],` +
			`"join":{"pool":"play","method":"params"}}`: map[string]any{"l": int64(1), "r": int64(2)},
	} {
		if got, err := call[any](t, s, "on", params); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v; want %#v", params, got, err, want)
		}
	}
	if n := must[int](t, s, "add", 1); n != 1 {
		t.Errorf("the first step's own session goes on with %d", n)
	}
}

// What is wrong with a next step is the method's own error, and names it; the
// session goes on.
func TestChildGoesOnWrongly(t *testing.T) {
	st := newStage(t, "act", nil)
	s := st.open()
	for params, says := range map[string]string{
		`{}`:    "pool is empty",
		`[]`:    "cannot unmarshal array",
		`null`:  "pool is empty",
		`"add"`: "cannot unmarshal string",
		`{"pool":"play","method":"add","params":[5]}`:               `unknown field "params"`,
		`{"pool":"play","method":"add","arg":18446744073709551616}`: "does not fit 64 bits",
		`{"pool":"play","method":"add","branches":[]}`:              "want one of them",
		`{"branches":[]}`: "no steps",
		`{"branches":[{"pool":"play","method":"add"}]}`:                                             "has no name",
		`{"branches":[{"name":"x","pool":"play","method":"add","arg":1e999}]}`:                      "arg of branch 1",
		`{"branches":[{"name":"x","pool":"play","method":"m"},{"name":"x","pool":"","method":""}]}`: "step 2: pool is empty",
		`{"pool":"play","method":"add","join":{"pool":"play","method":"add"}}`:                      "join without branches",
		`{"branches":[{"name":"x","pool":"play","method":"add"}],"join":{}}`:                        "join: want a pool and a method",
	} {
		if _, err := call[any](t, s, "on", params); !errors.Is(err, session.ErrMethod) || !contains(err, says) {
			t.Errorf("%s: %v, want one that says %q", params, err, says)
		}
	}
	_, err := call[any](t, s, "on", `{"pool":"nowhere","method":"m"}`)
	if stage, ok := errors.AsType[*client.StageError](err); !ok || stage.Pool != "nowhere" || !errors.Is(err, session.ErrPoolUnknown) {
		t.Errorf("a pool that is not there: %v", err)
	}
	if _, err := call[any](t, s, "on-fail", `{"pool":"play","method":"add","arg":5}`); !errors.Is(err, session.ErrMethod) || !contains(err, "after all not") {
		t.Errorf("an error behind it: %v", err)
	}
	if n := must[int](t, s, "add", 3); n != 3 {
		t.Errorf("the session goes on with %d", n)
	}
}

func contains(err error, part string) bool { return strings.Contains(err.Error(), part) }
