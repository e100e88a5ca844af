package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// usageError is a wrong flag or argument.
type usageError struct{ error }

// options are the flags that every subcommand has.
type options struct {
	set     *flag.FlagSet
	out     io.Writer // of -h
	json    string
	check   bool
	quick   bool
	verbose bool
	repeats int

	progress io.Writer // keeps stdout for the table
}

// newOptions declares the common flags; repeats is the default number of
// repetitions.
func newOptions(name string, repeats int, out io.Writer) *options {
	o := &options{set: flag.NewFlagSet("limpet-bench "+name, flag.ContinueOnError), out: out, progress: os.Stderr}
	o.set.SetOutput(io.Discard) // an error is told once, by main
	o.set.StringVar(&o.json, "json", "", "also write everything measured to this `file`")
	o.set.BoolVar(&o.check, "check", false, "exit with 3 when the stated bound is missed")
	o.set.BoolVar(&o.quick, "quick", false, "shorter and fewer runs, under a minute: a smoke test, not figures")
	o.set.BoolVar(&o.verbose, "v", false, "show what the role processes write to stderr")
	o.set.IntVar(&o.repeats, "repeats", repeats, "repetitions")
	return o
}

// parse reads args; unless the user set them, the flags named in quick take the
// values given there when --quick is.
func (o *options) parse(args []string, quick map[string]string) error {
	if err := o.set.Parse(args); errors.Is(err, flag.ErrHelp) {
		o.set.SetOutput(o.out)
		o.set.PrintDefaults()
		return err
	} else if err != nil {
		return usageError{err}
	}
	if o.set.NArg() > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", o.set.Arg(0))}
	}
	if o.quick {
		o.set.Visit(func(f *flag.Flag) { delete(quick, f.Name) })
		for name, value := range quick {
			if err := o.set.Set(name, value); err != nil {
				return usageError{err}
			}
		}
	}
	if o.repeats < 1 {
		return usageError{errors.New("-repeats must be at least 1")}
	}
	return nil
}

// verdict prints how a bound came out and, with --check, makes a missed one an
// error.
func (o *options) verdict(out io.Writer, held bool, what string) error {
	if held {
		fmt.Fprintf(out, "holds:  %s\n", what)
		return nil
	}
	fmt.Fprintf(out, "MISSED: %s\n", what)
	if o.check {
		return fmt.Errorf("%w: %s", errMissed, what)
	}
	return nil
}

// write stores v at the --json file, if there is one.
func (o *options) write(v any) error {
	if o.json == "" {
		return nil
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(o.json, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// counts is a flag holding a comma-separated list of positive numbers.
type counts []int

func (c *counts) String() string {
	words := make([]string, len(*c))
	for i, n := range *c {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

func (c *counts) Set(text string) error {
	var list counts
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 {
			return fmt.Errorf("%q is not a positive number", word)
		}
		list = append(list, n)
	}
	*c = list
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
