package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// work is what a caller asks a handler to do; it travels as the call's
// argument.
type work struct {
	id    uint64        // of the call, in the whole world
	takes time.Duration // how long the handler works
	obeys bool          // it ends when its context does
	how   how
	beats bool // it shows signs of life until its end
}

type how uint8

const (
	howReply how = iota
	howError
	howPanic
)

const workSize = 8 + 8 + 2

func (k *work) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, k.id)
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.takes))
	obeys := byte(0)
	if k.obeys {
		obeys = 1
	}
	if k.beats {
		obeys |= 2
	}
	return append(dst, obeys, byte(k.how))
}

func parseWork(args []byte) work {
	if len(args) < workSize {
		return work{}
	}
	return work{
		id: binary.BigEndian.Uint64(args), takes: time.Duration(binary.BigEndian.Uint64(args[8:])), obeys: args[16]&1 != 0, how: how(args[17]),
		beats: args[16]&2 != 0,
	}
}

// fails is the code of the handler's own end.
func (k *work) fails() session.Code {
	switch k.how {
	case howError:
		return session.ErrMethod
	case howPanic:
		return session.ErrWorkerPanic
	default:
		return 0
	}
}

func describeWork(args []byte) string {
	k := parseWork(args)
	return fmt.Sprintf("work %d takes %s obeys=%v %s", k.id, k.takes.Round(time.Millisecond), k.obeys, [...]string{"replies", "errs", "panics"}[k.how])
}

const replySize = 8 + 8

// appendReply is the body of a reply: which call it answers, and the session's
// counter after it.
func appendReply(dst []byte, id, counter uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, id), counter)
}

func parseReply(body []byte) (id, counter uint64, ok bool) {
	if len(body) != replySize {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:]), true
}

func describeReply(body []byte) string {
	id, counter, ok := parseReply(body)
	if !ok {
		return fmt.Sprintf("%d bytes that are no reply", len(body))
	}
	return fmt.Sprintf("work %d counter=%d", id, counter)
}
