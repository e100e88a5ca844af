//go:build !tcl86

package tcl

// Tcl's own build installs its description as tcl.pc, and so do Debian, Fedora,
// Arch and Homebrew. Where it is called tcl86.pc (the BSDs), build with -tags tcl86.

// #cgo pkg-config: tcl
import "C"
