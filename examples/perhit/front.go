package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/limpet-rpc/limpet/client"

	"github.com/limpet-rpc/limpet/examples/perhit/front"
)

// runFront answers hits until ctx ends, and then lets those that are running finish.
func runFront(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("perhit front", flag.ContinueOnError)
	broker := flags.String("broker", "", "endpoints of the brokers, separated by commas")
	listen := flags.String("listen", "127.0.0.1:7780", "address to answer hits at; port 0 takes a free one")
	wait := flags.Duration("wait", 5*time.Second, "the longest that a hit waits for a free worker")
	timeout := flags.Duration("timeout", 10*time.Second, "the longest that a hit may take in all")
	if err := parse(flags, args); err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("answer hits at %s: %w", *listen, err)
	}
	c, err := client.Dial(ctx, *broker)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	fmt.Fprintf(os.Stderr, "perhit: answering hits at http://%s\n", listener.Addr())
	err = serve(ctx, listener, front.New(c, *wait, *timeout), *timeout)
	return errors.Join(err, c.Close())
}

// serve runs an HTTP server on listener until ctx ends, and gives the hits that are
// then running grace to finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, grace time.Duration) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(ctx)
	return errors.Join(err, closed(<-ended))
}

// closed forgets the error by which a server says that it was shut down.
func closed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
