// Package garbage answers one question: how often does a daemon of Limpet's own
// collect its garbage? A broker and an HTTP front keep little and allocate much:
// with Go's default the collector runs dozens of times a second over a heap of a
// few megabytes. They wait until it has grown to five times what lives, and no
// less than that, unless whoever runs them has said otherwise.
//
// What it does not do: it changes nothing in a program that only uses the SDKs.
package garbage

import (
	"os"
	"runtime/debug"
)

// percent is GOGC where the environment does not set it.
const percent = 400

// Relax sets it for the whole process, unless GOGC or GOMEMLIMIT is set. It is
// for mains.
func Relax() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(percent)
	}
}
