package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client/front"
	"github.com/limpet-rpc/limpet/internal/trial"
)

// TestMain lets the test binary be a worker.
func TestMain(m *testing.M) {
	workers, _ := strconv.Atoi(os.Getenv("WORKERS"))
	if workers == 0 {
		os.Exit(m.Run())
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	trial.Program(func(ctx context.Context) error { return serve(ctx, workers, false) })
}

// site is the example as it is deployed.
type site struct{ *trial.Site }

func newSite(t *testing.T, change func(*front.Route)) site {
	t.Helper()
	return site{trial.NewSite(t, func(all *front.Routes) {
		for i := range all.Routes {
			if change != nil {
				change(&all.Routes[i])
			}
		}
	})}
}

// patient is for tests of what is answered, not when.
func patient(r *front.Route) { r.Deadline.Duration = 2 * time.Minute }

// serve starts a process of workers and waits until it is registered.
func (s site) serve(t *testing.T, workers int) *os.Process {
	t.Helper()
	return s.Serve(t, "WORKERS="+strconv.Itoa(workers)).Process
}

// browser keeps eight connections.
var browser = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, MaxConnsPerHost: 8}}

func ask(t *testing.T, url string) (int, string) {
	t.Helper()
	return exchange(t, browser, http.MethodGet, url, nil)
}

func exchange(t *testing.T, browser *http.Client, method, url string, body io.Reader) (int, string) {
	t.Helper()
	return exchangeIn(t.Context(), t, browser, method, url, body)
}

func exchangeIn(ctx context.Context, t *testing.T, browser *http.Client, method, url string, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	answer, err := browser.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer func() { _ = answer.Body.Close() }()
	return read(t, answer)
}

func read(t *testing.T, r *http.Response) (int, string) {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return r.StatusCode, string(b)
}

// primesAmong asks for the odd numbers of an interval one by one.
func (s site) primesAmong(t *testing.T, from, to uint64) int64 {
	t.Helper()
	var found atomic.Int64
	var next atomic.Uint64
	next.Store(from | 1)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := next.Add(2) - 2; n <= to && !t.Failed(); n = next.Add(2) - 2 {
				text := strconv.FormatUint(n, 10)
				switch status, body := ask(t, s.URL+"/is_prime?possible_prime="+text); {
				case status == http.StatusOK && body == text:
					found.Add(1)
				case status != http.StatusOK || body != notPrime:
					t.Errorf("%d: %d %s", n, status, body)
				}
			}
		})
	}
	all.Wait()
	return found.Load()
}

// One worker and eight find the same primes: one number a request, and the whole
// interval as a count that fans out. Both intervals one by one, by one worker and
// by eight, are for limpet-bench primes-every.
func TestPrimesOfOneAndOfEight(t *testing.T) {
	for _, workers := range []int{1, 8} {
		s := newSite(t, patient)
		s.serve(t, workers)
		if n := s.primesAmong(t, 3, 1_999); n != 302 {
			t.Errorf("%d workers: %d primes from 3 to 1999, want 302", workers, n)
		}
		if workers == 8 {
			if n := s.primesAmong(t, 100000000000000, 100000000008000); n != 238 {
				t.Errorf("%d large primes, want 238", n)
			}
		}
		if status, body := ask(t, s.URL+"/count?from=3&to=999999"); status != 200 || body != "78497" {
			t.Errorf("%d workers count %d %s", workers, status, body)
		}
		if status, body := ask(t, s.URL+"/count?from=100000000000000&to=100000000008000"); status != 200 || body != "238" {
			t.Errorf("%d workers count %d %s", workers, status, body)
		}
	}
}

// What ab -k -n 1000 -c 8 does.
func TestKeepAlive(t *testing.T) {
	s := newSite(t, patient)
	s.serve(t, 8)
	var kept, fresh atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		browser := &http.Client{Transport: &http.Transport{}}
		defer browser.CloseIdleConnections()
		all.Go(func() {
			for range 125 {
				trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
					if c.Reused {
						kept.Add(1)
					} else {
						fresh.Add(1)
					}
				}}
				ctx := httptrace.WithClientTrace(t.Context(), trace)
				status, body := exchangeIn(ctx, t, browser, http.MethodGet, s.URL+"/is_prime?possible_prime=32416190071", nil)
				if status != 200 || body != "32416190071" {
					t.Errorf("%d %s", status, body)
				}
			}
		})
	}
	all.Wait()
	if kept.Load() != 992 || fresh.Load() != 8 {
		t.Errorf("%d requests on connections that were kept, %d on new ones; want 992 and 8", kept.Load(), fresh.Load())
	}
}

// The same in the words of ab, which speaks HTTP/1.0: a connection is kept only
// where the answer says so and has a length.
func TestKeepAliveOfHTTP10(t *testing.T) {
	s := newSite(t, patient)
	s.serve(t, 8)
	const ask = "GET /is_prime?possible_prime=32416190071 HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: x\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n"
	var all sync.WaitGroup
	for range 8 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		all.Go(func() {
			in := bufio.NewReader(conn)
			for i := range 125 {
				if _, err := io.WriteString(conn, ask); err != nil {
					t.Errorf("request %d: %v", i, err)
					return
				}
				r, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Errorf("request %d: %v", i, err)
					return
				}
				kept := strings.EqualFold(r.Header.Get("Connection"), "keep-alive") && r.ContentLength == 11
				if status, body := read(t, r); status != 200 || body != "32416190071" || !kept {
					t.Errorf("request %d: %d %q, %v", i, status, body, r.Header)
				}
				_ = r.Body.Close()
			}
		})
	}
	all.Wait()
}

func TestRequests(t *testing.T) {
	s := newSite(t, patient)
	s.serve(t, 2)
	post := func(body io.Reader) (int, string) {
		return exchange(t, browser, http.MethodPost, s.URL+"/is_prime", body)
	}
	for _, q := range []struct {
		path   string
		status int
		body   string
	}{
		{"/is_prime?possible_prime=32416190072", 200, "0"},
		{"/is_prime?possible_prime=18446744073709551557", 200, "18446744073709551557"},
		{"/is_prime?possible_prime=99999999999999999999", 400, ""},
		{"/is_prime?possible_prime=abc", 400, ""},
		{"/is_prime", 400, ""},
		{"/nope", 404, ""},
		{"/next?from=32416190072", 200, "32416190083"},
		{"/next?from=18446744073709551558", 200, "0"},
		{"/count?from=10&to=3", 200, "0"},
		{"/count?from=0&to=99999999999", 400, ""},
	} {
		status, body := ask(t, s.URL+q.path)
		if status != q.status || q.body != "" && body != q.body {
			t.Errorf("%s: %d %s", q.path, status, body)
		}
	}
	if status, body := post(strings.NewReader("97")); status != 200 || body != "97" {
		t.Errorf("97: %d %s", status, body)
	}
	if status, _ := post(io.LimitReader(zeros{}, 11<<20)); status != 413 {
		t.Errorf("11 MB: %d", status)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Without workers a request ends at its route's deadline, and never before.
func TestNoWorkers(t *testing.T) {
	s := newSite(t, nil)
	begun := time.Now()
	status, body := ask(t, s.URL+"/is_prime?possible_prime=97")
	if took := time.Since(begun); status != http.StatusGatewayTimeout || took < 2*time.Second {
		t.Errorf("after %v: %d %s", took, status, body)
	}
}

// A worker that is killed while it idles is nobody's trouble.
func TestIdleWorkerKilled(t *testing.T) {
	s := newSite(t, patient)
	one := s.serve(t, 1)
	s.serve(t, 1)
	if err := one.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 4 { // both of them have their turn
		if status, body := ask(t, s.URL+"/is_prime?possible_prime=97"); status != 200 || body != "97" {
			t.Errorf("%d %s", status, body)
		}
	}
}

// The only worker stands still: a time-out, and no hang; it goes on, and so does
// the site.
func TestOnlyWorkerStopped(t *testing.T) {
	s := newSite(t, func(r *front.Route) { r.Deadline.Duration = 300 * time.Millisecond })
	one := s.serve(t, 1)
	trial.Stop(t, one)
	begun := time.Now()
	if status, body := ask(t, s.URL+"/is_prime?possible_prime=97"); status != http.StatusGatewayTimeout || time.Since(begun) < 300*time.Millisecond {
		t.Errorf("after %v: %d %s", time.Since(begun), status, body)
	}
	if err := one.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		status, _ := ask(t, s.URL+"/is_prime?possible_prime=97")
		if status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it never goes on: %d", status)
		}
	}
}

// A slow request and a fast one behind it on one connection are answered in
// order; a connection that is to be closed is.
func TestPipelined(t *testing.T) {
	s := newSite(t, patient)
	s.serve(t, 2)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /count?from=3&to=99999 HTTP/1.1\r\nhost: x\r\n\r\n"+
		"GET /is_prime?possible_prime=97 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for _, want := range []string{"9591", "97"} {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := read(t, r); status != 200 || body != want {
			t.Errorf("%d %s, want %s", status, body, want)
		}
		_ = r.Body.Close()
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is not closed: %v", err)
	}
}

// Requests of one step are served while long ones go round: every step of those
// queues anew, behind them.
func TestShortOnesBesideLongOnes(t *testing.T) {
	s := newSite(t, patient)
	s.serve(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var rounds atomic.Int64
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil { // 112 steps each: the gap behind 370261
				if _, body := ask(t, s.URL+"/next?from=370262"); body == "370373" {
					rounds.Add(1)
				}
			}
		})
	}
	short := func() {
		if status, body := ask(t, s.URL+"/is_prime?possible_prime=97"); status != 200 || body != "97" {
			t.Errorf("%d %s", status, body)
		}
	}
	for range 200 {
		short()
	}
	for rounds.Load() < 4 && !t.Failed() {
		short()
	}
	cancel()
	all.Wait()
}
