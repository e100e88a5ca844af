package client

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/session"
)

// joined is the map of the branches' results by name, in the order of the names.
func joined(all []branch) (answer, error) {
	slices.SortFunc(all, func(a, b branch) int { return cmp.Compare(a.name, b.name) })
	var buf bytes.Buffer
	enc := msgpack.NewEncoder(&buf)
	err := enc.EncodeMapLen(len(all))
	for i := range all {
		if err != nil {
			break
		}
		if err = enc.EncodeString(all[i].name); err == nil {
			err = write(&buf, enc, &all[i])
		}
	}
	if err != nil {
		return answer{}, &session.Error{Code: session.ErrBadMessage, Text: "the branches were done, their results cannot be joined: " + err.Error()}
	}
	return answer{body: buf.Bytes()}, nil
}

func write(buf *bytes.Buffer, enc *msgpack.Encoder, b *branch) error {
	if b.answer.raw {
		return enc.EncodeBytes(b.answer.body)
	}
	size, err := codec.Skip(b.answer.body, codec.MaxDepth, codec.MaxItems)
	if err == nil && size != len(b.answer.body) {
		err = fmt.Errorf("%d bytes after the value", len(b.answer.body)-size)
	}
	if err != nil {
		return fmt.Errorf("branch %q: %w", b.name, err)
	}
	buf.Write(b.answer.body)
	return nil
}
