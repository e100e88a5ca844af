package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/client"
)

// argumentMost bounds an argument that is read from stdin; the wire carries no
// more.
const argumentMost = 64 << 20

// callCommand is limpet call.
type callCommand struct {
	asker

	bytes   bool
	in, out string
	sum     bool
}

func newCall() *cobra.Command {
	var c callCommand
	cmd := &cobra.Command{
		Use:   "call POOL METHOD [JSON]",
		Short: "Open a session, make one call, close it",
		Long: `Opens a session in a pool, makes one call in it, closes it, and writes the
reply as one line of JSON. The argument is JSON, '-' reads it from stdin, and
without one it is null.

JSON becomes MessagePack and back: integers stay integers, up to 64 bits, and
numbers with a point or an exponent are floats. Bytes are written as
{"bytes": "…"} in base64, or with --raw as they are.

What is large goes through files: --in sends a file's bytes as the argument, as
they are read, and --out writes a reply that is bytes to a file, as they come;
'-' is stdin or stdout. Neither is ever held whole. FILE is there once the call
is done, until then it is FILE.part. On a terminal a bar shows how far it is.`,
		Example: `  limpet call counter add 40
  limpet call tcl eval '{"script": "expr 6 * 7"}' --timeout 2s
  limpet call images shrink - --bytes --raw <in.png >out.png
  limpet call films cut --in film.mkv --out cut.mkv`,
		Args: wordArgs(2, 3, "POOL", "METHOD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd.Context(), args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.flags(cmd.Flags())
	c.replyFlags(cmd.Flags())
	cmd.Flags().StringVar(&c.in, "in", "", "send the bytes of `FILE` as the argument; '-' is stdin")
	cmd.Flags().StringVar(&c.out, "out", "", "write the reply, which must be bytes, to `FILE`; '-' is stdout")
	cmd.Flags().BoolVar(&c.sum, "checksum", false, "have argument and reply checked by a CRC-32C")
	cmd.Flags().BoolVar(&c.bytes, "bytes", false, "send the argument as bytes, as it is, instead of reading it as JSON")
	return cmd
}

func (c *callCommand) run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) error {
	if c.in != "" && (len(args) > 2 || c.bytes) {
		return usageError{errors.New("--in is the argument: there cannot be another, nor --bytes")}
	}
	if c.out != "" && c.raw {
		return usageError{errors.New("--out writes bytes as they are: --raw says nothing new")}
	}
	var arg any
	if c.in == "" {
		var err error
		if arg, err = c.argument(args[2:], in); err != nil {
			return err
		}
	}
	files, err := openTransfer(c.in, c.out, in, out, errs)
	if err != nil {
		return err
	}
	return files.end(c.ask(ctx, args, arg, files, out, errs))
}

// ask opens the session, calls and closes it.
func (c *callCommand) ask(ctx context.Context, args []string, arg any, files *transfer, out, errs io.Writer) error {
	ctx, stop := untilInterrupt(ctx)
	defer stop()
	conn, s, err := c.open(ctx, "limpet call", args[0])
	if err != nil {
		return err
	}
	if files.in != nil {
		arg = files.argument()
	}
	var opts []client.CallOption
	if c.sum {
		opts = append(opts, client.WithChecksum())
	}
	if files.out != nil {
		err = c.callTo(ctx, s, args[1], arg, files.reply(), opts...)
	} else {
		err = c.call(ctx, s, args[1], arg, out, opts...)
	}
	if bad := shut(ctx, conn, s); bad != nil && err == nil {
		fmt.Fprintf(errs, "limpet: the call was done, its session ends by itself: %s\n", plain(oneLine(bad.Error())))
	}
	return err
}

// argument is what is sent, from what was given.
func (c *callCommand) argument(given []string, in io.Reader) (any, error) {
	text := []byte("null")
	switch {
	case len(given) == 0 && c.bytes:
		text = nil
	case len(given) == 0:
	case given[0] == "-":
		all, err := io.ReadAll(io.LimitReader(in, argumentMost+1))
		if err != nil {
			return nil, fmt.Errorf("read the argument from stdin: %w", err)
		}
		if len(all) > argumentMost {
			return nil, usageError{fmt.Errorf("the argument on stdin is larger than %d MiB", argumentMost>>20)}
		}
		text = all
	default:
		text = []byte(given[0])
	}
	if c.bytes {
		return text, nil
	}
	v, err := parseJSON(text)
	if err != nil {
		return nil, usageError{fmt.Errorf("argument: %w", err)}
	}
	return v, nil
}
