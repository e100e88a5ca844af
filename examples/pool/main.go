// Command pool is a server of a pool that needs nothing beside it: each process
// is a candidate broker, a worker, and a client of its own, so that any of them
// can ask all of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/cell"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

func main() {
	dir := flag.String("cell", "/tmp/limpet-pool", "folder of the cell")
	endpoint := flag.String("endpoint", broker.DefaultListen, "where the master listens")
	name := flag.String("name", fmt.Sprintf("server-%d", os.Getpid()), "how status and answers show it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := serve(ctx, *dir, *endpoint, *name)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// server is one process of the pool.
type server struct {
	name      string
	candidate *cell.Candidate
	client    *client.Client
	heard     atomic.Int64 // answers to its own broadcasts
}

// serve is a candidate, a client and a worker until ctx ends. They end in the
// opposite order: the worker needs the broker, which may be this one.
func serve(ctx context.Context, dir, endpoint, name string) (err error) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	candidate, err := cell.Join(cell.Options{Dir: dir, Broker: broker.Options{Listen: endpoint}})
	if err != nil {
		stop()
		return err
	}
	ctx, fail := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer fail() // a candidate that cannot go on takes its worker along
		ended <- candidate.Run(running)
	}()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	dialling, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := client.Dial(dialling, endpoint, client.WithName(name))
	if err != nil {
		return err
	}
	defer c.Close()
	s := &server{name: name, candidate: candidate, client: c}
	return worker.Serve(ctx, worker.Options{Broker: endpoint, Name: name}, s.pool())
}

// Who is what a server says of itself.
type Who struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	Master bool   `json:"master"`
	Heard  int64  `json:"heard"` // answers that came to it
}

func (s *server) pool() *worker.Pool[struct{}] {
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "servers", Slots: 10})
	// Broadcasts run this on every server, beside its sessions.
	worker.HandleCast(pool, "who", func(context.Context, any) (Who, error) {
		return Who{s.name, os.Getpid(), s.candidate.Broker() != nil, s.heard.Load()}, nil
	})
	// A session's method, on one server: it asks all of them.
	worker.Handle(pool, "ask", func(ctx context.Context, _ struct{}, _ any) ([]Who, error) {
		var all []Who
		cast := client.Broadcast[Who](ctx, s.client, "servers", "who", nil)
		for answer, err := range cast.Answers() {
			if err != nil {
				log.Printf("%s: %s: %v", answer.Name, answer.Fate, err)
				continue
			}
			s.heard.Add(1)
			all = append(all, answer.Value)
		}
		_, err := cast.Wait()
		return all, err
	})
	return pool
}
