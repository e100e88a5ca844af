package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// checked is a flag whose value is checked as it is read, so that a wrong one
// is refused alike from the command line and from the environment.
type checked[T any] struct {
	to    *T
	kind  string
	parse func(string) (T, error)
	text  func(T) string
}

// String implements pflag.Value.
func (c *checked[T]) String() string { return c.text(*c.to) }

// Type implements pflag.Value.
func (c *checked[T]) Type() string { return c.kind }

// Set implements pflag.Value.
func (c *checked[T]) Set(s string) error {
	v, err := c.parse(s)
	if err == nil {
		*c.to = v
	}
	return err
}

// spanFlag is a duration of at least least.
func spanFlag(flags *pflag.FlagSet, to *time.Duration, name string, standard, least time.Duration, help string) {
	*to = standard
	flags.Var(&checked[time.Duration]{to, "duration", func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("want a duration such as 500ms, 2s or 1m")
		}
		if d < least {
			return 0, fmt.Errorf("want at least %s", least)
		}
		return d, nil
	}, time.Duration.String}, name, help)
}

// countFlag is an integer from least to most.
func countFlag(flags *pflag.FlagSet, to *int, name string, standard, least, most int, help string) {
	*to = standard
	flags.Var(&checked[int]{to, "int", func(s string) (int, error) {
		n, err := strconv.Atoi(strings.TrimSpace(s)) // see spared
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("want a number from %d to %d", least, most)
		}
		return n, nil
	}, strconv.Itoa}, name, help)
}

// choiceFlag is one of several words.
func choiceFlag(flags *pflag.FlagSet, to *string, name string, choices []string, help string) {
	*to = choices[0]
	words := strings.Join(choices, ", ")
	flags.Var(&checked[string]{to, "word", func(s string) (string, error) {
		if !slices.Contains(choices, s) {
			return "", fmt.Errorf("want one of %s", words)
		}
		return s, nil
	}, func(s string) string { return s }}, name, help+": "+words)
}
