//go:build linux

package hostlock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func sample() Holder {
	return Holder{
		PID: 4711, PIDNS: 4026531836, Unique: 1 << 40, Start: 123456, Boot: uuid.UUID{1, 2, 3}, UID: 1000,
		Exe:       Exe{Dev: 65024, Inode: 77, Path: "/usr/bin/limpet"},
		Candidate: 0xfeedbeef, Epoch: 42, Endpoint: "tcp://127.0.0.1:7777", Cell: uuid.UUID{9, 8, 7},
	}
}

func TestRecord(t *testing.T) {
	for side := range 2 {
		h, first, err := decode(sample().encode(side))
		if err != nil || first != side || h != sample() {
			t.Errorf("%+v, %d, %v, want %+v, %d", h, first, err, sample(), side)
		}
	}
	long := sample()
	long.Endpoint, long.Exe.Path = strings.Repeat("e", MaxEndpoint), strings.Repeat("p", pathMax+1)
	h, _, err := decode(long.encode(0))
	if err != nil || h.Endpoint != long.Endpoint || h.Exe.Path != long.Exe.Path[:pathMax] {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestDamagedRecord(t *testing.T) {
	whole := sample().encode(0)
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		if _, _, err := decode(damaged); !errors.Is(err, ErrGarbage) {
			t.Fatalf("byte %d damaged: %v, want ErrGarbage", i, err)
		}
		half := append(bytes.Clone(whole[:i]), make([]byte, len(whole)-i)...)
		if _, _, err := decode(half); !errors.Is(err, ErrGarbage) {
			t.Fatalf("%d bytes written: %v, want ErrGarbage", i, err)
		}
	}
}

// newer is a record as another version may write it.
func newer(h Holder) []byte {
	b := h.encode(0)
	binary.BigEndian.PutUint32(b[8:], recordVersion+1)
	binary.BigEndian.PutUint32(b[atSum:], crc32.Checksum(b[:atSum], castagnoli))
	return b
}

func FuzzDecode(f *testing.F) {
	f.Add(sample().encode(1))
	f.Add(newer(sample()))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == recordSize { // what is inside a sound checksum is decoded too
			b = bytes.Clone(b)
			binary.BigEndian.PutUint32(b[atSum:], crc32.Checksum(b[:atSum], castagnoli))
		}
		h, first, err := decode(b)
		if err != nil {
			return
		}
		again, side, err := decode(h.encode(first))
		if err != nil || again.Epoch != h.Epoch || again.PID != h.PID || side != first {
			t.Fatalf("%+v came back as %+v, %v", h, again, err)
		}
	})
}
