package program_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// actVariable makes the test binary a child of a session; its value is how it
// starts.
const actVariable = "LIMPET_TEST_ACT"

func TestMain(m *testing.M) {
	if how := os.Getenv(actVariable); how != "" {
		act(how)
		return
	}
	goleak.VerifyTestMain(m)
}

type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Error  json.RawMessage `json:"error"`
	Span   *string         `json:"traceparent"`
}

// act is a program that keeps a total, and misbehaves on demand.
func act(how string) {
	switch how {
	case "exit":
		fmt.Fprintln(os.Stderr, "no such module: rum")
		fmt.Fprintln(os.Stderr, "giving up")
		os.Exit(7)
	case "garbage":
		fmt.Println("Welcome to the program 1.0!")
	case "mute":
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		defer func() { select {} }() // nor does the end of stdin end it
		fallthrough
	default:
		say(`{"jsonrpc":"2.0","method":"ready"}`)
	}
	a := &actor{in: bufio.NewReaderSize(os.Stdin, 1<<20)}
	for {
		r, ok := a.next()
		if !ok {
			return
		}
		a.serve(r)
	}
}

type actor struct {
	in    *bufio.Reader
	total int
}

func (a *actor) next() (r request, ok bool) {
	line, err := a.in.ReadBytes('\n')
	if err != nil {
		return r, false
	}
	if err := json.Unmarshal(line, &r); err != nil {
		panic(err)
	}
	return r, true
}

func say(line string) { fmt.Println(line) }

func result(id json.RawMessage, value string) {
	say(`{"jsonrpc":"2.0","id":` + string(id) + `,"result":` + value + `}`)
}

// text is the first parameter.
func (r *request) text() string {
	var list []any
	_ = json.Unmarshal(r.Params, &list)
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprint(list[0])
}

func (a *actor) serve(r request) {
	switch r.Method {
	case "add":
		n, _ := strconv.Atoi(r.text())
		a.total += n
		result(r.ID, strconv.Itoa(a.total))
	case "params":
		if r.Params == nil {
			r.Params = []byte(`"none"`)
		}
		result(r.ID, string(r.Params))
	case "span":
		if r.Span == nil {
			result(r.ID, `"none"`)
			return
		}
		result(r.ID, strconv.Quote(*r.Span))
	case "result":
		result(r.ID, r.text())
	case "pid":
		result(r.ID, strconv.Itoa(os.Getpid()))
	case "env":
		result(r.ID, strconv.Quote(os.Getenv(r.text())))
	case "dir":
		dir, _ := os.Getwd()
		result(r.ID, strconv.Quote(dir))
	case "bye":
		fmt.Fprintln(os.Stderr, "good-bye, with a total of", a.total)
	case "fail":
		say(`{"jsonrpc":"2.0","id":` + string(r.ID) + `,"error":{"code":-32050,"message":"no rum","data":{"left":0}}}`)
	case "garbled":
		say(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}`)
	case "steps":
		say(`{"jsonrpc":"2.0","method":"progress","params":1}`)
		say(`{"jsonrpc":"2.0","method":"$/note","params":{"of":2}}`)
		result(r.ID, "null")
	case "on", "on-fail": // goes on with what it is told
		say(`{"jsonrpc":"2.0","method":"$/next","params":{"pool":"an earlier one","method":"is forgotten"}}`)
		say(`{"jsonrpc":"2.0","method":"$/next","params":` + r.text() + `}`)
		if r.Method == "on-fail" {
			say(`{"jsonrpc":"2.0","id":` + string(r.ID) + `,"error":{"code":1,"message":"after all not"}}`)
			return
		}
		result(r.ID, `"dropped"`)
	case "ask":
		say(`{"jsonrpc":"2.0","id":"q1","method":"client/registerCapability"}`)
		answer, _ := a.next()
		result(r.ID, `[`+string(answer.ID)+`,`+string(answer.Error)+`]`)
	case "obey":
		cancel, _ := a.next()
		say(`{"jsonrpc":"2.0","id":` + string(r.ID) + `,"error":{"code":-32800,"message":"` + cancel.Method + ` heeded"}}`)
	default:
		a.misbehave(r)
	}
}

func (a *actor) misbehave(r request) {
	id := string(r.ID)
	switch r.Method {
	case "hang":
		say(`{"jsonrpc":"2.0","method":"progress","params":"on it"}`)
		select {}
	case "die":
		fmt.Fprintf(os.Stderr, "%s\nTraceback:\n  out of rum\n", strings.Repeat("noise\n", 10_000))
		os.Exit(3)
	case "shot":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "line":
		say(r.text())
	case "half":
		say(`{"jsonrpc":"2.0","method":"progress","params":"on it"}`)
		_, _ = os.Stdout.WriteString(`{"jsonrpc":"2.0","id":` + id + `,"res`)
		if r.text() == "exit" {
			os.Exit(4)
		}
		select {}
	case "long":
		piece := strings.Repeat("x", 1<<20)
		_, _ = os.Stdout.WriteString(`{"jsonrpc":"2.0","id":` + id + `,"result":"`)
		for range 100 {
			_, _ = os.Stdout.WriteString(piece)
		}
		say(`"}`)
	case "large":
		n, _ := strconv.Atoi(r.text())
		result(r.ID, `"`+strings.Repeat("x", n)+`"`)
	case "close":
		_ = os.Stdout.Close()
		select {}
	case "wrong":
		say(`{"jsonrpc":"2.0","id":9` + id + `,"result":1}`)
	case "string":
		say(`{"jsonrpc":"2.0","id":"` + id + `","result":1}`)
	case "twice":
		result(r.ID, "1")
		result(r.ID, "2")
	case "batch":
		say(`[{"jsonrpc":"2.0","id":` + id + `,"result":1}]`)
	case "flood":
		for range 10_000 {
			say(`{"jsonrpc":"2.0","id":1,"method":"anything"}`)
		}
		select {}
	case "fork": // a grandchild that holds stdout, and does not heed anything
		grandchild := exec.Command("sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done")
		grandchild.Stdout, grandchild.Stderr = os.Stdout, os.Stderr
		if err := grandchild.Start(); err != nil {
			panic(err)
		}
		if r.text() == "exit" {
			os.Exit(5)
		}
		result(r.ID, strconv.Itoa(grandchild.Process.Pid))
	case "later": // it ends when nobody asks it anything
		result(r.ID, "null")
		time.Sleep(10 * time.Millisecond)
		fmt.Fprintln(os.Stderr, "bored")
		os.Exit(6)
	}
}
