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
	if got := none.limpet(t, "", "http", "--check", "--routes", routesFile(t, webRoutes)); got.code != exitOK || !strings.Contains(got.out, "2 routes, no mistakes") {
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
	ask := func(r *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status + " " + string(b)
	}
	if got := ask(http.Get(url + "/add/7")); got != "200 OK 7" {
		t.Error(got)
	}
	r, err := http.Post(url+"/total", "application/json", strings.NewReader("40"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := http.NewRequest(http.MethodPost, url+"/total", strings.NewReader("2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range r.Cookies() {
		again.AddCookie(cookie)
	}
	if got := ask(r, nil); got != "200 OK 40" {
		t.Error(got)
	}
	if got := ask(http.DefaultClient.Do(again)); got != "200 OK 42" {
		t.Error(got)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}
