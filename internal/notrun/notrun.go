// Package notrun answers one question: how does what stands before a handler say
// that it has not been run? An error of the handler's own cannot say so, whatever has
// become of the calls that it has made itself.
package notrun

import (
	"fmt"

	"github.com/limpet-rpc/limpet/session"
)

// Error is why a handler has not been run.
type Error struct {
	Code session.Code
	Text string
}

// Errorf returns one.
func Errorf(code session.Code, format string, args ...any) error {
	return Error{code, fmt.Sprintf(format, args...)}
}

// Error is the text.
func (e Error) Error() string { return e.Text }
