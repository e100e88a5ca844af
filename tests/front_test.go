package tests

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/client/front"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// webbed is a pool for the routes of these tests.
type webbed struct {
	pool  *worker.Pool[*int]
	began chan string
	ended chan error
	let   chan struct{}
}

func newWebbed(slots int) *webbed {
	w := &webbed{began: make(chan string, 100), ended: make(chan error, 100), let: make(chan struct{})}
	w.pool = worker.NewPool(worker.Config[*int]{
		Pool: "web", Slots: slots,
		Open: func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.Handle(w.pool, "echo", func(_ context.Context, _ *int, v any) (any, error) { return v, nil })
	worker.Handle(w.pool, "bytes", func(_ context.Context, _ *int, b []byte) ([]byte, error) { return b, nil })
	worker.Handle(w.pool, "count", func(_ context.Context, n *int, _ any) (int, error) { *n++; return *n, nil })
	worker.Handle(w.pool, "fail", func(context.Context, *int, any) (any, error) { return nil, errors.New("as told") })
	worker.Handle(w.pool, "bad", func(context.Context, *int, any) (any, error) {
		return nil, &session.Error{Code: session.ErrBadArgument, Text: "n is odd"}
	})
	worker.Handle(w.pool, "panic", func(context.Context, *int, any) (any, error) { panic("as told") })
	worker.Handle(w.pool, "round", func(context.Context, *int, any) (any, error) { return nil, worker.Next("web", "round", 0) })
	worker.Handle(w.pool, "to-bad", func(context.Context, *int, any) (any, error) { return nil, worker.Next("web", "bad", 0) })
	worker.Handle(w.pool, "block", func(ctx context.Context, _ *int, _ any) (any, error) {
		w.began <- "block"
		select {
		case <-ctx.Done():
		case <-w.let:
		}
		w.ended <- ctx.Err()
		return "let go", ctx.Err()
	})
	worker.Handle(w.pool, "steps", func(ctx context.Context, _ *int, n any) (any, error) {
		for i := range 3 {
			if err := worker.Progress(ctx, map[string]int{"step": i}); err != nil {
				return nil, err
			}
		}
		return n, nil
	})
	worker.Handle(w.pool, "steps-fail", func(ctx context.Context, _ *int, _ any) (any, error) {
		if err := worker.Progress(ctx, []byte("raw")); err != nil {
			return nil, err
		}
		return nil, errors.New("as told")
	})
	return w
}

// site serves routes until the test ends.
func site(t *testing.T, cl *client.Client, routes string) *httptest.Server {
	t.Helper()
	r, err := front.ParseRoutes([]byte(routes))
	if err != nil {
		t.Fatal(err)
	}
	f, err := front.New(cl, r, quiet())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(f)
	t.Cleanup(func() {
		s.Close()
		if err := f.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// route is one of a file's.
func route(path, method string, more ...string) string {
	return fmt.Sprintf("[[route]]\npath = %q\npool = \"web\"\nmethod = %q\n%s\n", path, method, strings.Join(more, "\n"))
}

// reply is a response that has been read.
type reply struct {
	status int
	body   string
	header http.Header
}

func ask(t *testing.T, r *http.Request) reply {
	t.Helper()
	resp, err := browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, string(b), resp.Header}
}

func request(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What a request becomes, and what its result does.
func TestFrontArgumentsAndResults(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newWebbed(4).pool)
	s := site(t, c.dial(t), route("GET /params/{id}/{rest...}", "echo")+
		route("GET /one/{id}", "bytes", `argument = "param q"`, `type = "text/plain"`)+
		route("GET /path/{id}", "bytes", `argument = "param id"`)+
		route("POST /json", "echo")+
		route("/raw", "bytes", `argument = "raw"`, "size = 1000")+
		route("PUT /all/{id}", "echo", `argument = "all"`)+
		route("GET /none", "echo", `argument = "none"`)+
		route("GET /need", "echo", `need = { n = '\d+' }`))
	for _, q := range []struct {
		method, path, body string
		status             int
		want, typ          string
	}{
		{"GET", "/params/7/a/b?x=1&y=2&y=3&id=9", "", 200, `{"id":"7","rest":"a/b","x":"1","y":["2","3"]}`, "application/json"},
		{"HEAD", "/none", "", 200, "", "application/json"},
		{"GET", "/one/7?q=%20hey", "", 200, " hey", "text/plain"},
		{"GET", "/one/7", "", 400, `{"error":"parameter \"q\": given 0 times, want it once"}`, "application/json"},
		{"GET", "/one/7?q=1&q=2", "", 400, `{"error":"parameter \"q\": given 2 times, want it once"}`, "application/json"},
		{"GET", "/path/a%2Fb", "", 200, "a/b", "application/octet-stream"},
		{"POST", "/json", ` {"b": [1, 2.5, null], "a": "x"} `, 200, `{"a":"x","b":[1,2.5,null]}`, "application/json"},
		{"POST", "/json", "", 200, "null", "application/json"},
		{"POST", "/json", `{"b": `, 400, "", "application/json"},
		{"POST", "/json", `1 2`, 400, "", "application/json"},
		{"POST", "/raw", "\x00\xff", 200, "\x00\xff", "application/octet-stream"},
		{"GET", "/raw", "", 200, "", "application/octet-stream"},
		{"PUT", "/all/7?x=1", "hey", 200, `{"body":{"bytes":"aGV5"},"params":{"id":"7","x":"1"},"type":""}`, "application/json"},
		{"GET", "/none?x=1", "", 200, "null", "application/json"},
		{"GET", "/need?n=42", "", 200, `{"n":"42"}`, "application/json"},
		{"GET", "/need?n=abc", "", 400, `{"error":"parameter \"n\" is \"abc\", which does not match \\d+"}`, "application/json"},
		{"GET", "/need?n=4x", "", 400, "", "application/json"},
		{"GET", "/need", "", 400, `{"error":"parameter \"n\" is missing"}`, "application/json"},
		{"GET", "/need?n=%zz", "", 400, "", "application/json"},
		{"GET", "/nope", "", 404, "", "text/plain; charset=utf-8"},
		{"DELETE", "/json", "", 405, "", "text/plain; charset=utf-8"},
		{"POST", "/raw", strings.Repeat("x", 1000), 200, strings.Repeat("x", 1000), "application/octet-stream"},
		{"POST", "/raw", strings.Repeat("x", 1001), 413, `{"error":"a body of more than 1000 bytes"}`, "application/json"},
	} {
		got := ask(t, request(t, q.method, s.URL+q.path, q.body))
		if q.path == "/all/7?x=1" { // bytes within a value
			var v map[string]any
			if err := json.Unmarshal([]byte(got.body), &v); err != nil || v["params"].(map[string]any)["id"] != "7" {
				t.Errorf("%s: %q, %v", q.path, got.body, err)
			}
			q.want = ""
		}
		if got.status != q.status || q.want != "" && got.body != q.want || got.header.Get("Content-Type") != q.typ {
			t.Errorf("%s %s: %d %q %s", q.method, q.path, got.status, got.body, got.header.Get("Content-Type"))
		}
	}
	r := request(t, "POST", s.URL+"/raw", "")
	r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("in "), strings.NewReader("chunks"))), -1
	if got := ask(t, r); got.body != "in chunks" {
		t.Errorf("chunked: %q", got.body)
	}
	r = request(t, "POST", s.URL+"/raw", "")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 5000))), -1
	if got := ask(t, r); got.status != 413 {
		t.Errorf("too many chunks: %d", got.status)
	}
}

// Every end has its status, and says what became of the call.
func TestFrontOutcomes(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	w := newWebbed(1)
	c.serve(t, worker.Options{}, w.pool)
	cl := c.dial(t)
	fallback := `fallback = '{"success": false}'`
	s := site(t, cl, route("/fail", "fail", fallback)+route("/bad", "bad")+route("/to-bad", "to-bad")+route("/panic", "panic")+
		route("/round", "round", "hops = 3")+route("/missing", "missing")+
		route("/block", "block", `deadline = "1s"`)+route("/block-fallback", "block", `deadline = "1s"`, fallback, "fallback_status = 202")+
		route("/wait", "echo", `wait = "50ms"`)+route("/wait-text", "echo", `wait = "50ms"`, `fallback = "later"`)+
		strings.ReplaceAll(route("/nowhere", "echo", `deadline = "80ms"`), `"web"`, `"nowhere"`)+
		route("/gpu", "echo", `wait = "50ms"`, `labels = { gpu = "yes" }`))
	get := func(path string) reply { return ask(t, request(t, "GET", s.URL+path, "")) }
	// outcome: one of those that it names
	check := func(path string, status int, outcome string, again bool, text string) {
		t.Helper()
		begun := time.Now()
		got := get(path)
		for range 20 { // see lastWord
			if got.header.Get("Limpet-Outcome") != "unknown outcome" || strings.Contains(outcome, "unknown outcome") {
				break
			}
			got = get(path)
		}
		known, retry := strings.Contains(outcome, got.header.Get("Limpet-Outcome")), got.header.Get("Retry-After") != ""
		if got.status != status || !known || retry != again || !contains(got.body, text) {
			t.Errorf("%s after %v: %d, outcome %q, retry %q: %s", path, time.Since(begun), got.status,
				got.header.Get("Limpet-Outcome"), got.header.Get("Retry-After"), got.body)
		}
	}
	check("/fail", 500, "done", false, "as told")
	check("/bad", 400, "done", false, "n is odd")
	check("/to-bad", 502, "done", false, "step 1, web.bad")
	check("/panic", 500, "done", false, "as told")
	check("/round", 508, "done", false, "web.round > web.round")
	check("/missing", 502, "not run", false, "missing")
	check("/block", 504, "done or unknown outcome", false, "deadline passed")
	check("/block-fallback", 202, "done or unknown outcome", false, `{"success": false}`)
	check("/nowhere", 504, "not run or unknown outcome", false, "deadline passed")
	check("/gpu", 503, "not run", true, "labels")
	busy := open(t, cl, "web")
	check("/wait", 503, "not run", true, "no worker in time")
	check("/wait-text", 200, "not run", false, "later")
	check("/block", 504, "not run", false, "deadline passed")
	closeSession(t, busy)
	eventually(t, "nothing is left", func() bool { p := c.pool(t, "web"); return p.Free == 1 && p.Waiting == 0 })
}

// Who goes away takes his call along, and who is one too many is told so.
func TestFrontClientGoesAway(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newWebbed(2)
	c.serve(t, worker.Options{}, w.pool)
	s := site(t, c.dial(t), "most = 1\n"+route("/block", "block")+route("/echo", "echo"))
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		r := request(t, "GET", s.URL+"/block", "").WithContext(ctx)
		resp, err := browser.Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		left <- err
	}()
	await(t, w.began, "the call runs")
	if got := ask(t, request(t, "GET", s.URL+"/echo", "")); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %s", got.status, got.body)
	}
	if got := ask(t, request(t, "GET", s.URL+"/healthz", "")); got.status != 200 || !contains(got.body, `"requests":1`) {
		t.Errorf("health: %d %s", got.status, got.body)
	}
	cancel()
	if err := await(t, w.ended, "the call ends"); !errors.Is(err, context.Canceled) {
		t.Errorf("the call ended with %v", err)
	}
	if err := await(t, left, "the browser has left"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	eventually(t, "there is room", func() bool { return ask(t, request(t, "GET", s.URL+"/echo", "")).status == 200 })
}

// On one connection answers come in the order of the requests, and it is closed
// where that is asked for in whatever case.
func TestFrontPipelining(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newWebbed(2)
	c.serve(t, worker.Options{}, w.pool)
	s := site(t, c.dial(t), route("/block", "block")+route("/fast", "bytes", `argument = "param q"`))
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /block HTTP/1.1\r\nHost: x\r\n\r\nGET /fast?q=hey HTTP/1.1\r\nHost: x\r\n\r\n"+
		"GET /fast?q=last HTTP/1.1\r\nHost: x\r\nconnection: close\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	await(t, w.began, "the slow one runs")
	close(w.let)
	in := bufio.NewReader(conn)
	for _, want := range []string{`"let go"`, "hey", "last"} {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil || string(b) != want || r.Close != (want == "last") {
			t.Errorf("%q, close %t, %v; want %q", b, r.Close, err, want)
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is not closed: %v", err)
	}
}

func TestFrontEvents(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newWebbed(2).pool)
	s := site(t, c.dial(t), route("/steps", "steps")+route("/always", "steps-fail", "events = true")+route("/fail", "fail", "events = true")+
		"[[route]]\npath='/mine'\nsession='user'\nmethod='steps'\nevents=true\n[session.user]\npool='web'\ncookie='user'\n")
	r := request(t, "GET", s.URL+"/steps?n=1", "")
	r.Header.Set("Accept", "text/event-stream")
	want := ""
	for i := range 3 {
		want += fmt.Sprintf("event: progress\ndata: {\"step\":%d}\n\n", i)
	}
	want += "event: result\ndata: {\"n\":\"1\"}\n\n"
	if got := ask(t, r); got.body != want || got.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%s: %q", got.header.Get("Content-Type"), got.body)
	}
	if got := ask(t, request(t, "GET", s.URL+"/mine?n=1", "")); got.body != want {
		t.Errorf("in a session: %q", got.body)
	}
	if got := ask(t, request(t, "GET", s.URL+"/steps", "")); got.body != "{}" {
		t.Errorf("without events: %q", got.body)
	}
	got := ask(t, request(t, "GET", s.URL+"/always", ""))
	want = "event: progress\ndata: {\"bytes\":\"cmF3\"}\n\nevent: error\ndata: {\"error\":"
	if got.status != 200 || !strings.HasPrefix(got.body, want) || !contains(got.body, "as told") {
		t.Errorf("%q", got.body)
	}
	if got := ask(t, request(t, "GET", s.URL+"/fail", "")); got.status != 500 {
		t.Errorf("before the first event: %d", got.status)
	}
}

// A user's requests are served by one worker, found by a name that nobody can
// guess.
func TestFrontSessions(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newWebbed(4).pool)
	s := site(t, c.dial(t), `
[session.user]
pool   = "web"
cookie = "user"
most   = 2
[session.key]
pool   = "web"
header = "X-Key"
idle   = "2s"
lost   = "gone"
[[route]]
path    = "/count"
session = "user"
method  = "count"
[[route]]
path    = "/out"
session = "user"
method  = "count"
end     = true
[[route]]
path    = "/panic"
session = "user"
method  = "panic"
[[route]]
path    = "/key"
session = "key"
method  = "count"
`)
	visit := func(path, cookie string) (reply, string) {
		r := request(t, "GET", s.URL+path, "")
		if cookie != "" {
			r.AddCookie(&http.Cookie{Name: "user", Value: cookie})
		}
		got := ask(t, r)
		for _, set := range (&http.Response{Header: got.header}).Cookies() {
			if !set.HttpOnly || set.SameSite != http.SameSiteLaxMode || set.Path != "/" || len(set.Value) != 22 {
				t.Errorf("cookie %v", set)
			}
			cookie = set.Value
		}
		return got, cookie
	}
	expect := func(path, cookie, body string, fresh bool) string {
		t.Helper()
		got, name := visit(path, cookie)
		if got.status != 200 || got.body != body || (got.header.Get("Limpet-Session") == "new") != fresh {
			t.Errorf("%s: %d %s, new %q", path, got.status, got.body, got.header.Get("Limpet-Session"))
		}
		return name
	}
	one := expect("/count", "", "1", true)
	two := expect("/count", "forged", "1", true)
	if one == two || two == "forged" {
		t.Errorf("names %q and %q", one, two)
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { visit("/count", one) })
	}
	all.Wait()
	expect("/count", one, "12", false)
	expect("/count", two, "2", false)
	if got, _ := visit("/count", ""); got.status != 503 || !contains(got.body, "2 sessions are kept") {
		t.Errorf("one too many: %d %s", got.status, got.body)
	}
	expect("/out", two, "3", false)
	two = expect("/count", two, "1", true) // it ended, and begins anew
	if got, _ := visit("/panic", two); got.status != 500 {
		t.Errorf("panic: %d", got.status)
	}
	expect("/count", two, "1", true)

	key := func(name string) reply {
		r := request(t, "GET", s.URL+"/key", "")
		r.Header.Set("X-Key", name)
		return ask(t, r)
	}
	got := key("")
	name := got.header.Get("X-Key")
	if got.status != 200 || len(name) != 22 {
		t.Fatalf("%d %q", got.status, name)
	}
	if got = key(name); got.body != "2" {
		t.Errorf("%s", got.body)
	}
	if got = key("forged"); got.status != 410 {
		t.Errorf("forged: %d %s", got.status, got.body)
	}
	eventually(t, "it is over when it was idle", func() bool { return c.pool(t, "web").Free == 2 })
	if got = key(name); got.status != 410 {
		t.Errorf("over: %d %s", got.status, got.body)
	}
}

// At its end a server lets requests under way end, and cuts those that do not.
func TestFrontShutsDown(t *testing.T) {
	for name, patient := range map[string]bool{"in time": true, "cut": false} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t, broker.Options{})
			w := newWebbed(2)
			c.serve(t, worker.Options{}, w.pool)
			r, err := front.ParseRoutes([]byte(route("/block", "block")))
			if err != nil {
				t.Fatal(err)
			}
			f, err := front.New(c.dial(t), r, quiet())
			if err != nil {
				t.Fatal(err)
			}
			grace := long
			if !patient {
				grace = 20 * time.Millisecond
			}
			s, err := front.Listen("127.0.0.1:0", f, grace)
			if err != nil {
				t.Fatal(err)
			}
			stop := run(t, s.Run)
			answers := make(chan reply, 1)
			go func() { answers <- ask(t, request(t, "GET", "http://"+s.Address()+"/block", "")) }()
			await(t, w.began, "the call runs")
			ended := make(chan bool)
			go func() { stop(); close(ended) }()
			want := 503
			if patient {
				eventually(t, "nothing new is taken", func() bool {
					conn, err := net.Dial("tcp", s.Address())
					if err == nil {
						_ = conn.Close()
					}
					return err != nil
				})
				close(w.let)
				want = 200
			}
			if got := await(t, answers, "the answer"); got.status != want {
				t.Errorf("%d %s", got.status, got.body)
			}
			<-ended
		})
	}
}

// Without a broker the front says so.
func TestFrontHealth(t *testing.T) {
	c := newCell(t, broker.Options{})
	cl := c.dial(t)
	s := site(t, cl, route("/echo", "echo"))
	if got := ask(t, request(t, "GET", s.URL+"/healthz", "")); got.status != 200 || !strings.HasPrefix(got.body, `{"status":"ok"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if err := cl.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, request(t, "GET", s.URL+"/healthz", "")); got.status != 503 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := ask(t, request(t, "GET", s.URL+"/echo", "")); got.status != 503 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// The session that a route begins for its user waits in the pool's queue as the
// route says.
func TestFrontSessionWaitsAsItsRouteSays(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newWebbed(1).pool)
	cl := c.dial(t)
	s := site(t, cl, `
[session.user]
pool   = "web"
cookie = "user"
[[route]]
path     = "/short"
session  = "user"
method   = "count"
wait     = "50ms"
deadline = "10m"
[[route]]
path     = "/first"
session  = "user"
method   = "count"
priority = 8
deadline = "10m"
`)
	busy := open(t, cl, "web")
	if got := ask(t, request(t, http.MethodGet, s.URL+"/short", "")); got.status != 503 || !contains(got.body, "no worker in time") {
		t.Errorf("past its wait: %d %s", got.status, got.body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	other := make(chan error, 1)
	go func() { // it would keep the only slot
		_, err := cl.Open(ctx, "web")
		other <- err
	}()
	eventually(t, "one waits", func() bool { return c.pool(t, "web").Waiting == 1 })
	done := make(chan reply, 1)
	go func() { done <- ask(t, request(t, http.MethodGet, s.URL+"/first", "")) }()
	eventually(t, "two wait", func() bool { return c.pool(t, "web").Waiting == 2 })
	closeSession(t, busy)
	if got := await(t, done, "the one of higher priority"); got.status != 200 || got.body != "1" {
		t.Errorf("%d %s", got.status, got.body)
	}
	cancel()
	if err := await(t, other, "the other"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
