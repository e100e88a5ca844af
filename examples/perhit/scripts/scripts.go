// Package scripts holds the Tcl scripts that a hit can name.
package scripts

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.tcl
var files embed.FS

// Source is the script called name, without ".tcl"; false where there is none.
func Source(name string) (string, bool) {
	text, err := fs.ReadFile(files, name+".tcl")
	return string(text), err == nil
}

// Names are the names of all scripts, sorted.
func Names() []string {
	paths, _ := fs.Glob(files, "*.tcl") // the pattern is a constant and right
	for i, path := range paths {
		paths[i] = strings.TrimSuffix(path, ".tcl")
	}
	return paths
}
