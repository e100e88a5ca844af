package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// WebOrder is a load of HTTP requests: is each of these odd numbers a prime?
type WebOrder struct {
	URL         string `json:"url"`
	From        uint64 `json:"from"`
	To          uint64 `json:"to"`
	Connections int    `json:"connections"`
}

// WebLoad is what came of it.
type WebLoad struct {
	Requests, Found int64
	Elapsed         time.Duration
	P99             time.Duration
}

func (l WebLoad) rate() float64 { return float64(l.Requests) / l.Elapsed.Seconds() }

// loadWait bounds a load.
const loadWait = 30 * time.Minute

// at has a process of the family make the load, after a short one to warm up.
func (o WebOrder) at(ctx context.Context, family *Family, url string) (WebLoad, error) {
	var got WebLoad
	load, err := family.Add(ctx, "primes-load", Setup{})
	if err != nil {
		return got, err
	}
	o.URL = url
	warm := o
	warm.To = min(o.To, o.From+5000)
	if err := load.Ask(ctx, "load", warm, nil, loadWait); err != nil {
		return got, err
	}
	return got, load.Ask(ctx, "load", o, &got, loadWait)
}

// run makes the requests over as many connections. Each is kept alive, and has
// one request at a time.
func (o WebOrder) run() (WebLoad, error) {
	var got WebLoad
	var next atomic.Uint64
	var requests, found atomic.Int64
	h := new(histogram)
	next.Store(o.From | 1)
	address := strings.TrimPrefix(o.URL, "http://")
	begun := time.Now()
	err := atOnce(o.Connections, func() error {
		c, err := dialWeb(address)
		if err != nil {
			return err
		}
		defer c.conn.Close()
		for n := next.Add(2) - 2; n <= o.To; n = next.Add(2) - 2 {
			sent := time.Now()
			yes, err := c.isPrime(n)
			if err != nil {
				next.Store(o.To + 1) // the others need not go on
				return fmt.Errorf("number %d: %w", n, err)
			}
			h.Add(time.Since(sent))
			requests.Add(1)
			if yes {
				found.Add(1)
			}
		}
		return nil
	})
	got.Elapsed, got.Requests, got.Found, got.P99 = time.Since(begun), requests.Load(), found.Load(), h.Quantile(0.99)
	return got, err
}

// webConn is one connection. It knows as much of HTTP as the servers here use:
// a client that costs little beside them.
type webConn struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	text []byte // the number asked for
	body []byte
}

func dialWeb(address string) (*webConn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &webConn{conn: conn, in: bufio.NewReader(conn)}, nil
}

func (c *webConn) isPrime(n uint64) (bool, error) {
	c.text = strconv.AppendUint(c.text[:0], n, 10)
	c.out = append(c.out[:0], "GET /is_prime?possible_prime="...)
	c.out = append(c.out, c.text...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: bench\r\n\r\n"...)
	if _, err := c.conn.Write(c.out); err != nil {
		return false, err
	}
	if err := c.answer(); err != nil {
		return false, err
	}
	switch {
	case bytes.Equal(c.body, c.text):
		return true, nil
	case string(c.body) == "0":
		return false, nil
	}
	return false, fmt.Errorf("answered by %.100q", c.body)
}

// answer reads one response, which has a Content-Length.
func (c *webConn) answer() error {
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	wrong := string(status[:min(len(status), 20)])
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = textproto.TrimBytes(line)
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(": ")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if length < 0 || length > 1<<20 {
		return fmt.Errorf("%q with a body of %d bytes", wrong, length)
	}
	c.body = append(c.body[:0], make([]byte, length)...)
	if _, err := io.ReadFull(c.in, c.body); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%q: %.200q", wrong, c.body)
	}
	return nil
}

// webClient keeps as many connections as it needs.
var webClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}

// webAsk makes one request.
func webAsk(ctx context.Context, url string) (status int, body string, took time.Duration, err error) {
	begun := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", 0, err
	}
	answer, err := webClient.Do(r)
	if err != nil {
		return 0, "", 0, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b), time.Since(begun), err
}
