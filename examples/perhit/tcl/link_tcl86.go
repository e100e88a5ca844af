//go:build tcl86

package tcl

// #cgo pkg-config: tcl86
import "C"
