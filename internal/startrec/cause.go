package startrec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/limpet-rpc/limpet/session"
)

const (
	causeSuffix = ".why"
	causeMost   = 1 << 20 // bytes of a cause's file
)

// causeOf is the file beside a record.
func causeOf(record string) string { return strings.TrimSuffix(record, suffix) + causeSuffix }

// LeaveCause puts the cause of a death beside the record that it explains, in the
// place of one that was left before. Whoever does so must still share the
// record's lock (see Record.File): once that is free, the next one takes record
// and cause away. For a record that is gone nothing is left.
func LeaveCause(record string, c session.Death) error {
	if _, err := os.Stat(record); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("leave the cause of a death: %w", err)
	}
	if err := os.WriteFile(causeOf(record), b, 0o600); err != nil {
		return fmt.Errorf("leave the cause of a death: %w", err)
	}
	return nil
}

// takeCause reads and removes the cause beside a record. One that is not there,
// or cannot be read, is none.
func takeCause(record string) (c session.Death) {
	f, err := os.Open(causeOf(record))
	if err != nil {
		return c
	}
	b, err := io.ReadAll(io.LimitReader(f, causeMost))
	_ = errors.Join(f.Close(), os.Remove(f.Name())) // what cannot be removed lies there without a record, and is never read
	if err != nil || json.Unmarshal(b, &c) != nil {
		return session.Death{}
	}
	return c
}
