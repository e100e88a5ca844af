package front

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const good = `
most = 10

[[route]]
path     = "GET /add/{n}"
pool     = "counter"
method   = "add"
need     = { n = '\d+' }
deadline = "2s"
fallback = '{"success": false}'

[[route]]
path    = "POST /total"
session = "user"
method  = "add"

[session.user]
pool   = "counter"
cookie = "total"
`

func TestRoutesOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "routes.toml")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := ReadRoutes(path)
	if err != nil {
		t.Fatal(err)
	}
	add, total, user := r.Routes[0], r.Routes[1], r.Sessions["user"]
	if r.Most != 10 || r.Health != "/healthz" || add.Deadline.Duration != 2*time.Second || add.Size != 4<<20 || *add.Fallback != `{"success": false}` ||
		add.FallbackStatus != 200 || add.form() != formParams || total.form() != formJSON || total.Deadline.Duration != 30*time.Second ||
		user.Idle.Duration != 10*time.Minute || user.Most != 1024 || user.Lost != "renew" {
		t.Errorf("%+v", r)
	}
	if _, err := ReadRoutes(path + "x"); err == nil || !strings.Contains(err.Error(), "routes.tomlx") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Every mistake is told by its line and key.
func TestRoutesWithMistakes(t *testing.T) {
	route := "[[route]]\npath='/x'\npool='p'\nmethod='m'\n"
	for _, test := range []struct {
		text string
		want []string
	}{
		{"", []string{"there are no routes"}},
		{"[[route]\n", []string{"line 1: expected"}},
		{"\n[[route]]\npath = 3\n", []string{`line 3: key "route.path"`}},
		{route + "pth='x'\nfoo=1\n", []string{`line 5: unknown key "route.pth"`, `line 6: unknown key "route.foo"`}},
		{route + "[rout]\n", []string{`line 5: unknown key "rout"`}},
		{route + "deadline='3x'\n", []string{`line 5: route 1 (/x): key "deadline": want a duration`}},
		{route + "deadline=3\n", []string{`line 5: route 1 (/x): key "deadline": want a duration`}},
		{route + "deadline='-3s'\n", []string{`line 5: route 1 (/x): key "deadline": want a duration`}},
		{route + "need={n='('}\n", []string{`line 5: route 1 (/x): key "need": n: `, "missing closing )"}},
		{route + "path='/y'\n", []string{`line 5: key "path"`, "already defined"}},
		{"\n[[route]]\npath='/x'\n", []string{`line 2: route 1 (/x): key "method": is missing`, `(/x): key "pool": is missing`}},
		{route + route, []string{`line 6: route 2 (/x): key "path": pattern "/x" conflicts with pattern "/x"`}},
		{"[[route]]\npool='p'\nmethod='m'\n", []string{`line 1: route 1 (without a path): key "path": is missing`}},
		{route + "argument='param '\n", []string{`key "argument": want params`}},
		{route + "argument='xml'\n", []string{`key "argument": want params`}},
		{route + "session='s'\n", []string{`key "session": and pool are both given`}},
		{route + "end=true\n", []string{`key "end": is for routes with a session`}},
		{route + "size=-1\n", []string{`key "size"`}},
		{route + "priority=9\n", []string{`key "priority": want -8 to 8, not 9`}},
		{route + "keep=-1\n", []string{`line 5: route 1 (/x): key "keep"`}},
		{route + "keep=1\npriority=1\n", []string{`line 6: route 1 (/x): key "priority": is for routes without keep`}},
		{route + "ahead=4\n", []string{`line 5: route 1 (/x): key "ahead"`}},
		{route + "hops=-1\n", []string{`key "hops"`}},
		{route + "fallback_status=99\n", []string{`key "fallback_status"`}},
		{"most=-1\n" + route, []string{`line 1: key "most"`}},
		{"health='healthz'\n" + route, []string{`key "health"`, "healthz"}},
		{strings.Replace(route, "/x", "GET", 1), []string{`key "path"`}},
		{"[[route]]\npath='/x'\nsession='s'\nmethod='m'\n", []string{`key "session": there is no [session.s]`}},
		{
			"[session.s]\npool='p'\ncookie='a'\n[[route]]\npath='/x'\nsession='s'\nmethod='m'\nlabels={a='b'}\n",
			[]string{`line 8: route 1 (/x): key "labels": belong to [session.s]`},
		},
		{route + "[session.s]\ncookie='a'\n", []string{`session s: key "pool": is missing`}},
		{route + "[session.s]\npool='p'\n", []string{`session s: key "cookie": want either`}},
		{route + "[session.s]\npool='p'\ncookie='a b'\n", []string{`session s: key "cookie"`}},
		{route + "[session.s]\npool='p'\ncookie='a'\nheader='A'\n", []string{`session s: key "cookie": want either`}},
		{route + "[session.s]\npool='p'\ncookie='a'\nlost='x'\nmost=-1\nidel='1s'\n", []string{`line 10: unknown key "session.s.idel"`}},
		{route + "[session.s]\npool='p'\ncookie='a'\nlost='x'\nmost=-1\n", []string{`line 8: session s: key "lost"`, `line 9: session s: key "most"`}},
		{"[[route]]\npath='/x'\npool='p'\nmethod='m'\n[[route]]\npath='/y'\nmethod='m'\n", []string{`line 5: route 2 (/y): key "pool"`}},
	} {
		_, err := ParseRoutes([]byte(test.text))
		for _, part := range test.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: want %q in: %v", test.text, part, err)
			}
		}
	}
}

// Whatever a file holds, it is read or refused.
func FuzzParseRoutes(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("[[route]]\npath='{'\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := ParseRoutes(text); err == nil && len(r.Routes) == 0 {
			t.Error("no routes, and no error")
		}
	})
}
