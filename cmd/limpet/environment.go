package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// variable is the environment variable of a flag.
func variable(flag string) string {
	return "LIMPET_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// ofCobra are flags that cobra adds and that have no variable.
func ofCobra(f *pflag.Flag) bool { return f.Name == "help" || f.Name == "version" }

// readEnvironment gives every flag that was not given its variable's value. The
// error names the variable that cannot be read.
func readEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Changed || ofCobra(f) {
			return
		}
		value, _ := lookup(variable(f.Name))
		if value == "" {
			return
		}
		if bad := f.Value.Set(value); bad != nil {
			err = fmt.Errorf("environment variable %s=%q: %w", variable(f.Name), value, bad)
			return
		}
		f.Changed = true
	})
	return err
}

// describeEnvironment names in every flag's help its variable.
func describeEnvironment(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !ofCobra(f) {
			f.Usage += " [" + variable(f.Name) + "]"
		}
	})
	for _, sub := range cmd.Commands() {
		describeEnvironment(sub)
	}
}
