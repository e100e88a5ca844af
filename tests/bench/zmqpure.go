package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// zmqPure is zmqio-bare without the C shim: its roles become this program built
// with the tag limpet_pure_zmq, which lies beside it.
type zmqPure struct{ zmqEcho }

const pureProgram = "limpet-bench-pure"

func (zmqPure) Name() string { return "zmqio-pure" }

func (z zmqPure) Servers() []Server {
	var servers []Server
	for _, s := range z.zmqEcho.Servers() {
		servers = append(servers, Server{s.Name, func(_ context.Context, p *Process) error {
			return becomePure(z.zmqEcho.Name()+"/"+s.Name, p.Setup)
		}})
	}
	return servers
}

// Missing says how the other program is built.
func (zmqPure) Missing(context.Context) error {
	_, err := pureExecutable()
	return err
}

// Dial replaces the client process, which has not announced itself yet and does so
// as the other program.
func (z zmqPure) Dial(_ context.Context, p *Process) ([]Caller, error) {
	setup := p.Setup
	setup.Peer = z.zmqEcho.Name()
	return nil, becomePure("load", setup)
}

// becomePure returns only where it fails.
func becomePure(role string, setup Setup) error {
	program, err := pureExecutable()
	if err != nil {
		return err
	}
	arg, err := json.Marshal(setup)
	if err != nil {
		return fmt.Errorf("encode setup of %s: %w", role, err)
	}
	return fmt.Errorf("become %s: %w", program, syscall.Exec(program, []string{program, roleWord, role, string(arg)}, os.Environ()))
}

func pureExecutable() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own executable: %w", err)
	}
	program := filepath.Join(filepath.Dir(self), pureProgram)
	if _, err := os.Stat(program); err != nil {
		return "", errors.Join(err, errors.New("`go build -tags limpet_pure_zmq -o "+pureProgram+" .` builds it"))
	}
	return program, nil
}
