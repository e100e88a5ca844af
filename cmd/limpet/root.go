package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/internal/version"
)

const rootHelp = `Limpet gives every client session one worker, and every call of that session
goes to that worker and to no other.

Every flag may also be given as an environment variable, LIMPET_ and the
flag's name: --log-level is LIMPET_LOG_LEVEL. The flag comes before the
variable, the variable before the default; an empty variable counts as unset.`

const rootExample = `  limpet broker                        # a broker on this machine
  limpet status                        # what it is doing
  limpet call counter add 40           # open a session, one call, close it
  printf 'add 40\nadd 2\n' | limpet session counter`

// run is the program from its arguments to its exit code.
func run(args []string) int {
	parsed := false
	root := newRoot(&parsed)
	root.SetArgs(spared(args))
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	if !parsed {
		err = usageError{fmt.Errorf("%w\nsee '%s --help'", err, cmd.CommandPath())}
	}
	if _, said := errors.AsType[saidError](err); !said {
		complain(os.Stderr, err)
	}
	return exitCode(err)
}

// spared keeps negative numbers from being taken for flags: a space before
// them changes neither JSON nor a flag's number. The arguments of exec are its
// program's.
func spared(args []string) []string {
	if len(args) > 0 && args[0] == "exec" {
		return args
	}
	out := slices.Clone(args)
	for i, a := range out {
		if len(a) > 1 && a[0] == '-' && a[1] >= '0' && a[1] <= '9' {
			out[i] = " " + a
		}
	}
	return out
}

// newRoot returns the command with all its subcommands. It sets parsed once
// flags, variables and arguments are found to be right, just before the
// command itself runs.
func newRoot(parsed *bool) *cobra.Command {
	root := &cobra.Command{
		Use:           "limpet",
		Short:         "Session-affine RPC: one worker per session",
		Long:          rootHelp,
		Example:       rootExample,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := readEnvironment(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			*parsed = true
			return nil
		},
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(newBroker(), newExec(), newHTTP(), newStatus(), newInspect(), newEvents(), newDrain())
	root.AddCommand(newCall(), newSession(), newJob(), newBroadcast(), newBench(), newVersion(), newExitCodes())
	describeEnvironment(root)
	return root
}

// complain writes an error as one line that says what to do where that is
// known.
func complain(w *os.File, err error) {
	text := err.Error()
	if what := advice(err); what != "" {
		text += "\n" + what
	}
	fmt.Fprintf(w, "limpet: %s\n", plain(oneLine(text)))
}

// oneLine joins the lines of a text.
func oneLine(s string) string {
	var one strings.Builder
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case one.Len() == 0:
		case strings.HasSuffix(one.String(), "?"):
			one.WriteByte(' ')
		default:
			one.WriteString("; ")
		}
		one.WriteString(line)
	}
	return one.String()
}
