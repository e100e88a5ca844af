//go:build !linux

package cell

import (
	"context"
	"errors"
)

// Run says that there are no cells here: the lock of a cell, and the end of a
// process that has it, are Linux's.
func Run(context.Context, Options) error { return errors.New("cell: cells need Linux") }
