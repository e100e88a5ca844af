//go:build linux

package hostlock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"
)

// MaxEndpoint is the most bytes of an endpoint in a record.
const MaxEndpoint = 255

// ErrVersion: a record was written by another version of this program, which
// alone can tell what it means.
var ErrVersion = errors.New("written by another version")

// Holder is a process and what it holds: the master of a cell, or a candidate
// of its roster.
type Holder struct {
	PID    int       // in the pid namespace PIDNS
	PIDNS  uint64    // inode of the pid namespace
	Unique uint64    // the kernel's number of the process, given once; 0 before Linux 6.9
	Start  uint64    // clock ticks from the boot to the start of the process
	Boot   uuid.UUID // of the running kernel
	UID    int       // effective user id
	Exe    Exe

	Candidate uint64
	Epoch     uint64
	Endpoint  string // at most MaxEndpoint bytes
	Cell      uuid.UUID
}

// Exe is a program file. Dev and Inode decide, Path is for people, and cut
// after 512 bytes.
type Exe struct {
	Dev, Inode uint64
	Path       string
}

func (h Holder) String() string {
	return fmt.Sprintf("candidate %016x, pid %d (%s), epoch %d, endpoint %q", h.Candidate, h.PID, h.Exe.Path, h.Epoch, h.Endpoint)
}

// A record on the disk, integers in big-endian order; magic, version and
// checksum stay where they are in every version:
//
//	0    magic (8), version (4), written first: 0 or 1 (4)
//	16   cell (16), boot (16)
//	48   pid (4), uid (4), pid namespace (8), unique (8), start (8)
//	80   exe's device (8) and inode (8), candidate (8), epoch (8)
//	112  endpoint's length (2) and bytes (256)
//	370  exe path's length (2) and bytes (512)
//	884  zeros
//	1020 checksum (4): CRC-32C of all before it
const (
	recordMagic   = "LIMPLOCK"
	recordVersion = 1
	recordSize    = 1024

	atEndpoint  = 112
	endpointMax = 256
	atPath      = atEndpoint + 2 + endpointMax
	pathMax     = 512
	atSum       = recordSize - 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode makes the record; first says which of a file's two copies is written
// first.
func (h Holder) encode(first int) []byte {
	b := make([]byte, 0, recordSize)
	b = append(b, recordMagic...)
	b = binary.BigEndian.AppendUint32(b, recordVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(first))
	b = append(b, h.Cell[:]...)
	b = append(b, h.Boot[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(h.PID))
	b = binary.BigEndian.AppendUint32(b, uint32(h.UID))
	for _, n := range []uint64{h.PIDNS, h.Unique, h.Start, h.Exe.Dev, h.Exe.Inode, h.Candidate, h.Epoch} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = b[:recordSize]
	putText(b[atEndpoint:atPath], h.Endpoint)
	putText(b[atPath:atPath+2+pathMax], h.Exe.Path)
	binary.BigEndian.PutUint32(b[atSum:], crc32.Checksum(b[:atSum], castagnoli))
	return b
}

func putText(to []byte, s string) {
	n := copy(to[2:], s)
	binary.BigEndian.PutUint16(to, uint16(n))
}

// decode reads a record: ErrGarbage for what is none, ErrVersion for one of
// another version.
func decode(b []byte) (h Holder, first int, err error) {
	switch {
	case len(b) != recordSize:
		return h, 0, fmt.Errorf("%d bytes instead of %d: %w", len(b), recordSize, ErrGarbage)
	case !bytes.HasPrefix(b, []byte(recordMagic)):
		return h, 0, fmt.Errorf("no record: %w", ErrGarbage)
	case crc32.Checksum(b[:atSum], castagnoli) != binary.BigEndian.Uint32(b[atSum:]):
		return h, 0, fmt.Errorf("half a record, or a damaged one: %w", ErrGarbage)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != recordVersion {
		return h, 0, fmt.Errorf("record of version %d, this is %d: %w", v, recordVersion, ErrVersion)
	}
	first = int(binary.BigEndian.Uint32(b[12:]) & 1)
	copy(h.Cell[:], b[16:])
	copy(h.Boot[:], b[32:])
	h.PID = int(binary.BigEndian.Uint32(b[48:]))
	h.UID = int(binary.BigEndian.Uint32(b[52:]))
	for i, n := range []*uint64{&h.PIDNS, &h.Unique, &h.Start, &h.Exe.Dev, &h.Exe.Inode, &h.Candidate, &h.Epoch} {
		*n = binary.BigEndian.Uint64(b[56+8*i:])
	}
	h.Endpoint = text(b[atEndpoint:atPath])
	h.Exe.Path = text(b[atPath : atPath+2+pathMax])
	return h, first, nil
}

func text(b []byte) string {
	n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
	return string(b[2 : 2+n])
}
