package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/worker"
)

// roleWord is the first argument of a re-executed role process:
//
//	limpet-bench role NAME SETUP
//
// The process speaks lines. It writes "ready ENDPOINT" once it serves; then for
// every "WORD ARGUMENT" on its stdin it writes "WORD RESULT" or "error TEXT",
// argument and result in JSON. The end of stdin ends it, so that no role
// outlives the process that started it.
const roleWord = "role"

// Setup is what a role is told when it starts.
type Setup struct {
	Peer     string        `json:"peer"`     // whose load a client role makes
	At       []string      `json:"at"`       // endpoints that the servers started before it announced, in their order
	Sessions int           `json:"sessions"` // sessions that will be open at once
	Beat     time.Duration `json:"beat"`     // node's beat; 0 is Limpet's default
	Misses   int           `json:"misses"`   // beats missed until a node is lost; 0 is Limpet's default
	Cell     string        `json:"cell"`     // folder of the cell, where there is one
	Listen   string        `json:"listen"`   // its endpoint
	Limit    time.Duration `json:"limit"`    // how long its master may be silent
}

// Role is the body of a role process. It calls p.Ready once and blocks until
// ctx ends or it has failed.
type Role func(ctx context.Context, p *Process) error

// Process is a role's own side of its process.
type Process struct {
	Setup
	out     io.Writer
	mu      sync.Mutex // guards answers
	answers map[string]func(arg json.RawMessage) (any, error)
	ready   chan struct{}
}

// Answer installs the answer to lines that begin with word. Call it before
// Ready. Answers run one at a time, away from the role's own goroutine.
func (p *Process) Answer(word string, f func(arg json.RawMessage) (any, error)) {
	p.mu.Lock()
	p.answers[word] = f
	p.mu.Unlock()
}

// Ready announces that the role serves, at endpoint where it has one.
func (p *Process) Ready(endpoint string) {
	fmt.Fprintf(p.out, "ready %s\n", endpoint)
	close(p.ready)
}

// roles are the roles of all peers by "peer/server", and the client roles.
func roles() map[string]Role {
	all := map[string]Role{
		"load":            loadRole,
		"memory-client":   memoryClientRole,
		"many-client":     manyClientRole,
		"handover-client": handoverClientRole,
		"lost-client":     lostClientRole,
		"processes-node":  processesNodeRole,
		"hang-node":       hangNodeRole,
		"cast-broker":     castBrokerRole,
		"cast-nodes":      castNodesRole,
		"cast-client":     castClientRole,

		"primes-alone": primesAloneRole,
		"primes-node":  primesNodeRole,
		"primes-front": primesFrontRole,
		"primes-load":  primesLoadRole,

		"failover-candidate": failoverCandidateRole,
		"failover-node":      failoverNodeRole,
		"failover-client":    failoverClientRole,
	}
	maps.Copy(all, largeRoles())
	for _, peer := range peers() {
		for _, s := range peer.Servers() {
			all[peer.Name()+"/"+s.Name] = s.Serve
		}
	}
	return all
}

// roleMain runs one role process and returns its exit code.
func roleMain(args []string) int {
	stop, err := startProfile(strings.Join(args[:min(len(args), 1)], ""))
	if err == nil {
		err = runRole(args, os.Stdin, os.Stdout)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	return exitOK
}

func runRole(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("a role process takes a role and its setup; it is started by limpet-bench itself")
	}
	role, ok := roles()[args[0]]
	if !ok {
		return fmt.Errorf("no role %q", args[0])
	}
	p := &Process{out: out, answers: map[string]func(json.RawMessage) (any, error){}, ready: make(chan struct{})}
	if err := json.Unmarshal([]byte(args[1]), &p.Setup); err != nil {
		return fmt.Errorf("decode setup of %s: %w", args[0], err)
	}
	if worker.InWorkerProcess() { // its supervisor is the role: nobody else talks to it
		p.out = io.Discard
		return role(context.Background(), p)
	}
	p.Answer("memory", func(json.RawMessage) (any, error) { return settledMemory() })

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- role(ctx, p) }()
	told := make(chan struct{})
	go func() { p.listen(in); close(told) }()

	select {
	case err := <-served:
		if err == nil {
			err = errors.New("ended by itself")
		}
		return fmt.Errorf("role %s: %w", args[0], err)
	case <-told:
	}
	cancel()
	select {
	case err := <-served:
		if err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("end role %s: %w", args[0], err)
		}
	case <-time.After(time.Second): // a role that blocks in a receive ends with its process
	}
	return nil
}

// listen has lines answered until in ends, then returns at once: the answer that
// is under way ends with the process.
func (p *Process) listen(in io.Reader) {
	lines := make(chan string)
	defer close(lines)
	go p.answerAll(lines)
	reader := bufio.NewReader(in)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		lines <- strings.TrimSpace(line) // its starter waits for an answer before it asks again
	}
}

func (p *Process) answerAll(lines <-chan string) {
	<-p.ready
	for line := range lines {
		p.answer(line)
	}
}

func (p *Process) answer(line string) {
	word, arg, _ := strings.Cut(line, " ")
	p.mu.Lock()
	f := p.answers[word]
	p.mu.Unlock()
	if f == nil {
		fmt.Fprintf(p.out, "error no answer to %q\n", word)
		return
	}
	result, err := f(json.RawMessage(arg))
	if err == nil {
		var b []byte
		if b, err = json.Marshal(result); err == nil {
			fmt.Fprintf(p.out, "%s %s\n", word, b)
			return
		}
	}
	fmt.Fprintf(p.out, "error %s\n", strings.ReplaceAll(err.Error(), "\n", " / "))
}

// Memory is a process's resident memory, in bytes.
type Memory struct {
	Raw     int64 // as it was found
	Settled int64 // after forced collections and the return of free memory to the system
	GOGC    int   // percent; -1 is off
}

// settledMemory collects twice, because a sync.Pool survives one collection, and
// then returns free memory to the system.
func settledMemory() (Memory, error) {
	var m Memory
	var err error
	if m.Raw, err = residentBytes(os.Getpid()); err != nil {
		return m, err
	}
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
	m.GOGC = debug.SetGCPercent(100)
	debug.SetGCPercent(m.GOGC)
	m.Settled, err = residentBytes(os.Getpid())
	return m, err
}
