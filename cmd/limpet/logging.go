package main

import (
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// logFlags say what a command that runs on logs, and how.
type logFlags struct {
	level  string
	format string
}

func (f *logFlags) flags(flags *pflag.FlagSet) {
	choiceFlag(flags, &f.level, "log-level", []string{"info", "debug", "warn", "error"}, "what is logged")
	choiceFlag(flags, &f.format, "log-format", []string{"text", "json"}, "how it is logged")
}

func (f *logFlags) logger(to io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.level)) // the flag has let only its words pass
	o := &slog.HandlerOptions{Level: level}
	if f.format == "json" {
		return slog.New(slog.NewJSONHandler(to, o))
	}
	return slog.New(slog.NewTextHandler(to, o))
}
