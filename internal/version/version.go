// Package version answers one question: which build is this?
package version

import "runtime/debug"

// stamped is set by the linker, see the Makefile.
var stamped string

// String is the stamped version, the module's version where there is no
// stamp, or "dev".
func String() string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
