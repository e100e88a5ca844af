package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

const webRoutes = `
[[route]]
path     = "GET /add/{n}"
pool     = "lab"
method   = "bytes"
argument = "param n"

[[route]]
path    = "POST /total"
session = "user"
method  = "add"

[session.user]
pool   = "lab"
cookie = "total"
`

func routesFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routes.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file's mistakes are told by line and key before anything is served.
func TestHTTPRoutesWithMistakes(t *testing.T) {
	var none *cell
	for text, want := range map[string]string{
		webRoutes + "idel = '3s'\n": `line 16: unknown key "session.user.idel"`,
		"[[route]]\npath='/x'\n":    `line 1: route 1 (/x): key "method": is missing`,
	} {
		for _, args := range [][]string{{"--check"}, nil} {
			got := none.limpet(t, "", append([]string{"http", "--routes", routesFile(t, text)}, args...)...)
			if got.code != exitUsage || !strings.Contains(got.err, want) {
				t.Errorf("want %s: %+v", want, got)
			}
		}
	}
	if got := none.limpet(t, "", "http"); got.code != exitUsage || !strings.Contains(got.err, "--routes is missing") {
		t.Errorf("%+v", got)
	}
	got := none.limpet(t, "", "http", "--check", "--routes", routesFile(t, webRoutes))
	if got.code != exitOK || !strings.Contains(got.out, "2 routes, no mistakes") {
		t.Errorf("%+v", got)
	}
}

// It serves until it is told to end.
func TestHTTP(t *testing.T) {
	c := newCell(t)
	c.serve(t, "one")
	cmd := as(context.Background(), "limpet", "http", "--broker", c.broker, "--listen", "127.0.0.1:0", "--routes", routesFile(t, webRoutes))
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it has ended, if all went well
	})
	url := ""
	for lines := bufio.NewScanner(errs); url == "" && lines.Scan(); {
		if found := regexp.MustCompile(`url=(http://\S+)`).FindStringSubmatch(lines.Text()); found != nil {
			url = found[1]
		}
	}
	go func() { _, _ = io.Copy(io.Discard, errs) }() // ends with it
	var cookies []*http.Cookie
	ask := func(method, path, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cookies {
			r.AddCookie(c)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		b, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		cookies = append(cookies, answer.Cookies()...)
		return answer.Status + " " + string(b)
	}
	for _, q := range [][4]string{
		{http.MethodGet, "/add/7", "", "200 OK 7"},
		{http.MethodPost, "/total", "40", "200 OK 40"},
		{http.MethodPost, "/total", "2", "200 OK 42"},
	} {
		if got := ask(q[0], q[1], q[2]); got != q[3] {
			t.Errorf("%s: %s", q[1], got)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}
