package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/jsontext"
)

// closeWait is how long the end of a session may take. A worker that is not
// heard by then is freed by the session's lease.
const closeWait = 5 * time.Second

// openGrace is how much longer than the wait an open may take before the
// broker counts as silent.
const openGrace = 5 * time.Second

// asker is what call, session and bench have in common: sessions with a pool,
// and calls in them.
type asker struct {
	broker   string
	labels   map[string]string
	want     string
	priority int
	wait     time.Duration
	timeout  time.Duration
	raw      bool
}

func (a *asker) flags(flags *pflag.FlagSet) {
	flags.StringVar(&a.broker, "broker", client.DefaultBroker, "the broker's `endpoint`, or several, separated by commas: the first that answers")
	flags.StringToStringVar(&a.labels, "label", nil, "a label that the worker's node must have, `key=value`; may be given several times")
	flags.Lookup("label").DefValue = "" // pflag would show []
	flags.StringVar(&a.want, "want", "", "the `value` that the worker's node must say of itself, in a pool whose policy is equal")
	countFlag(flags, &a.priority, "priority", 0, -8, 8, "who goes first where several wait")
	spanFlag(flags, &a.wait, "wait", 30*time.Second, time.Millisecond, "how long to wait for a free worker")
	spanFlag(flags, &a.timeout, "timeout", 0, 0, "how long a call may take; 0: as long as it takes")
}

func (a *asker) replyFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&a.raw, "raw", false, "write replies that are bytes or strings as they are")
}

// open dials and opens the session. The caller ends both with shut.
func (a *asker) open(ctx context.Context, name, pool string) (*client.Client, *client.Session, error) {
	c, err := a.dial(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.openIn(ctx, c, pool)
	if err != nil {
		_ = c.Close() // there is no session that it could fail to close
		return nil, nil, err
	}
	return c, s, nil
}

func (a *asker) dial(ctx context.Context, name string) (*client.Client, error) {
	return client.Dial(ctx, a.broker, client.WithName(name), client.WithLogger(slog.New(slog.DiscardHandler)))
}

// openIn opens one session over a connection.
func (a *asker) openIn(ctx context.Context, c *client.Client, pool string) (*client.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, a.wait+openGrace)
	defer cancel()
	return c.Open(ctx, pool, client.WithWait(a.wait), client.WithLabels(a.labels), client.WithWant(a.want), client.WithPriority(a.priority))
}

// shut closes the session, also where ctx has ended, and the connection.
func shut(ctx context.Context, c *client.Client, s *client.Session) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	err := s.Close(ctx)
	_ = c.Close() // it has nothing left to lose
	return err
}

// call makes one call and writes its reply as one line of JSON, or as it is.
func (a *asker) call(ctx context.Context, s *client.Session, method string, arg any, out io.Writer, opts ...client.CallOption) error {
	var reply codec.Body
	if err := a.callTo(ctx, s, method, arg, &reply, opts...); err != nil {
		return err
	}
	text, err := a.shown(reply)
	if err != nil {
		return fmt.Errorf("call %s: it was done, its reply cannot be shown: %w", method, err)
	}
	_, err = out.Write(text)
	return err
}

// callTo makes one call within its time.
func (a *asker) callTo(ctx context.Context, s *client.Session, method string, arg, reply any, opts ...client.CallOption) error {
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	return s.Call(ctx, method, arg, reply, opts...)
}

// shown is a reply as it is written.
func (a *asker) shown(reply codec.Body) ([]byte, error) {
	switch {
	case reply.Raw && a.raw:
		return reply.Bytes, nil
	case reply.Raw:
		return append(jsontext.AppendBytes(nil, reply.Bytes), '\n'), nil
	}
	if a.raw {
		if content, is := textOf(reply.Bytes); is {
			return content, nil
		}
	}
	text, err := jsontext.Append(nil, reply.Bytes)
	return append(text, '\n'), err
}

// wordArgs wants between least and most arguments, named for the error.
func wordArgs(least, most int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least {
			missing, verb := names[len(args):least], "is"
			if len(missing) > 1 {
				verb = "are"
			}
			return fmt.Errorf("%s %s missing", strings.Join(missing, " and "), verb)
		}
		if len(args) > most {
			return fmt.Errorf("too many arguments from %q on; JSON with spaces wants quotes", args[most])
		}
		return nil
	}
}
