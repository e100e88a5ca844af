package client

import (
	"fmt"
	"io"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/session"
)

// Body is an argument or a result as it travels: bytes, where Raw is set, or one
// MessagePack value.
type Body = codec.Body

// answer is what one step has ended with.
type answer struct {
	body []byte
	raw  bool
	next bool // the body is a wire.Next
}

func (a answer) decode(result any) error {
	if to, ok := result.(io.Writer); ok {
		if !a.raw {
			return errNoBytes()
		}
		if _, err := to.Write(a.body); err != nil {
			return &session.Error{Code: session.ErrCancelled, Text: "the call was done, its reply could not be written: " + err.Error(), Cause: err}
		}
		return nil
	}
	if err := codec.Decode(a.body, a.raw, result); err != nil {
		return &session.Error{Code: session.ErrBadMessage, Text: fmt.Sprintf("the call was done, its reply does not decode into %T: %s", result, err)}
	}
	return nil
}

// errNoBytes is a reply that was to be read or written as bytes, and is none.
func errNoBytes() *session.Error {
	return &session.Error{Code: session.ErrBadMessage, Text: "the call was done, its reply is a MessagePack value and no bytes"}
}
