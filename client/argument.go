package client

import (
	"bytes"
	"io"
	"os"
	"strings"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/wire"
)

// argMost is the largest argument that one message carries.
const argMost = wire.MaxArgument

// encoded is an argument that is a body already.
type encoded struct {
	bytes []byte
	raw   bool
}

// inParts reports that an argument does not go in one message.
func inParts(arg any, opts []CallOption) bool {
	switch arg := arg.(type) {
	case []byte:
		if len(arg) > argMost {
			return true
		}
	case io.Reader:
		return true
	}
	return summed(opts)
}

func summed(opts []CallOption) bool {
	for _, o := range opts {
		if o.sum {
			return true
		}
	}
	return false
}

// parts is an argument that goes in parts: bytes, or what is read.
type parts struct {
	from io.Reader // nil: bytes
	encoded
	size int64 // below 0: unknown
}

func partsOf(arg any) (parts, error) {
	switch arg := arg.(type) {
	case encoded:
		return parts{encoded: arg, size: int64(len(arg.bytes))}, nil
	case []byte:
		return parts{encoded: encoded{arg, true}, size: int64(len(arg))}, nil
	case io.Reader:
		p := parts{from: arg, encoded: encoded{raw: true}, size: sizeOf(arg)}
		if _, file := arg.(*os.File); file && p.size >= 0 {
			p.from = io.LimitReader(arg, p.size) // it may grow
		}
		return p, nil
	}
	body, raw, err := codec.Append(nil, arg)
	return parts{encoded: encoded{body, raw}, size: int64(len(body))}, err
}

// sizeOf is how many bytes a reader has, below 0 where that is not known.
func sizeOf(r io.Reader) int64 {
	switch r := r.(type) {
	case *bytes.Reader:
		return int64(r.Len())
	case *bytes.Buffer:
		return int64(r.Len())
	case *strings.Reader:
		return int64(r.Len())
	case *os.File:
		info, err := r.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return -1
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil || at > info.Size() {
			return -1
		}
		return info.Size() - at
	}
	return -1
}
