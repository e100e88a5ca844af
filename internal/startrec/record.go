// Package startrec answers one question: which calls had a dead process begun?
// A node notes "started n" for each of its slots in a small memory-mapped file
// before it runs the handler. The file is locked while its owner lives; after a
// crash whoever gets the lock (another node of that machine, or its broker)
// reads it: a call beyond the noted number has certainly not run.
//
//	header: magic, node id, number of slots
//	slot:   session id (16 bytes), started (uint64), reserved (8 bytes)
//
// The note is a store to shared memory: it costs nanoseconds, survives the
// process, and is not meant to survive the machine.
//
// A supervisor that knows why the process died leaves that beside the record; it
// shares the record's lock until it has.
//
// What it does not do: it tells nobody; it does not watch by itself.
package startrec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/internal/prefetch"
	"github.com/limpet-rpc/limpet/session"
)

const (
	magic      = "LIMPREC1"
	headerSize = 64
	slotSize   = 32
	suffix     = ".rec"
	maxSlots   = 1 << 24
)

// DefaultDir is where a user's nodes and brokers keep records when nobody says
// otherwise: a folder of that user's in the system's place for temporary files.
func DefaultDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("limpet-records-%d", os.Getuid()))
}

// Off, given as a folder, means that no records are kept or looked for.
const Off = "off"

// Record is one node's own file.
type Record struct {
	file *os.File
	mem  []byte
}

// Path is where the record of a node lies.
func Path(dir string, node session.NodeID) string { return filepath.Join(dir, node.String()+suffix) }

// Slot is one slot's note. It is one goroutine's at a time.
type Slot struct{ mem *[slotSize]byte }

// Create makes and locks the record of a node, in a folder that is made if
// need be and readable by its owner only.
func Create(dir string, node session.NodeID, slots int) (*Record, error) {
	if slots < 0 || slots > maxSlots {
		return nil, fmt.Errorf("start record: %d slots", slots)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start record: %w", err)
	}
	if err := ours(dir); err != nil {
		return nil, fmt.Errorf("start record: %w", err)
	}
	// It becomes a record for others only under its final name, locked and whole.
	temporary := filepath.Join(dir, node.String()+".new")
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start record: %w", err)
	}
	r := &Record{file: f}
	if err := errors.Join(r.fill(node, slots), os.Rename(temporary, Path(dir, node))); err != nil {
		_ = os.Remove(temporary)
		return nil, errors.Join(fmt.Errorf("start record: %w", err), f.Close())
	}
	return r, nil
}

// ours checks that nobody else may put a record into the folder: one that lies
// would have calls reported as not run.
func ours(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("folder %s: %w", dir, err)
	}
	if int(st.Uid) != os.Getuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("folder %s: others may write there (owner %d, mode %o)", dir, st.Uid, st.Mode&0o777)
	}
	return nil
}

func (r *Record) fill(node session.NodeID, slots int) error {
	size := headerSize + slots*slotSize
	if err := unix.Flock(int(r.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if err := r.file.Truncate(int64(size)); err != nil {
		return err
	}
	mem, err := unix.Mmap(int(r.file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	r.mem = mem
	copy(mem, magic)
	binary.BigEndian.PutUint64(mem[8:], uint64(node))
	binary.BigEndian.PutUint32(mem[16:], uint32(slots))
	return nil
}

// File is the record's open file. A copy of its descriptor shares the lock:
// the record is taken for a dead one's when the last copy has been closed. It
// stays the record's to close.
func (r *Record) File() *os.File { return r.file }

// Slot returns the note of slot i.
func (r *Record) Slot(i int) Slot {
	at := headerSize + i*slotSize
	return Slot{(*[slotSize]byte)(r.mem[at:])}
}

// Begin notes that the slot serves this session and has started none of its
// calls.
func (s Slot) Begin(id session.ID) {
	if s.mem == nil {
		return
	}
	clear(s.mem[:16]) // a death in between leaves a slot of nobody's
	s.Start(0)
	copy(s.mem[:], id[:])
}

// Soon has its memory brought near.
func (s Slot) Soon() {
	if s.mem != nil {
		prefetch.Of(s.mem)
	}
}

// Start notes that call n is about to run.
func (s Slot) Start(n uint64) {
	if s.mem != nil {
		atomic.StoreUint64((*uint64)(unsafe.Pointer(&s.mem[16])), n) //nolint:gosec // mapped memory, aligned by the layout
	}
}

// Remove ends the record: its node has ended on purpose and left nothing open.
func (r *Record) Remove(dir string) error {
	node := session.NodeID(binary.BigEndian.Uint64(r.mem[8:]))
	_ = os.Remove(causeOf(Path(dir, node))) // there may be none
	return errors.Join(os.Remove(Path(dir, node)), unix.Munmap(r.mem), r.file.Close())
}

// Obituary is what a dead node had begun.
type Obituary struct {
	Node    session.NodeID
	Started map[session.ID]uint64 // by session: the highest call that was started, 0 for none
	Cause   session.Death         // as its supervisor left it
}

// Collect looks for records in dir whose owner has died, takes each away, and
// returns what they say. Files that are no records are left alone. A folder
// that does not exist holds none.
func Collect(dir string) ([]Obituary, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("start records: %w", err)
	}
	if len(names) == 0 {
		return nil, nil
	}
	if err := ours(dir); err != nil {
		return nil, fmt.Errorf("start records: %w", err)
	}
	var found []Obituary
	for _, name := range names {
		o, ok, err := collect(name)
		if err != nil {
			return found, err
		}
		if ok {
			found = append(found, o)
		}
	}
	return found, nil
}

func collect(name string) (o Obituary, ok bool, err error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return o, false, nil // somebody else took it
	}
	if err != nil {
		return o, false, fmt.Errorf("start records: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return o, false, nil // its owner lives, or somebody else reads it
	}
	if _, err := os.Stat(name); err != nil {
		return o, false, nil // read and removed between our open and our lock
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return o, false, fmt.Errorf("start records: %w", err)
	}
	o, ok = parse(b)
	if !ok {
		return o, false, nil
	}
	o.Cause = takeCause(name)
	return o, true, os.Remove(name)
}

func parse(b []byte) (Obituary, bool) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return Obituary{}, false
	}
	o := Obituary{Node: session.NodeID(binary.BigEndian.Uint64(b[8:])), Started: map[session.ID]uint64{}}
	slots := int(binary.BigEndian.Uint32(b[16:]))
	if o.Node == 0 || len(b) < headerSize+slots*slotSize {
		return Obituary{}, false
	}
	for i := range slots {
		s := b[headerSize+i*slotSize:]
		if id := session.ID(s[:16]); id != (session.ID{}) {
			o.Started[id] = binary.NativeEndian.Uint64(s[16:])
		}
	}
	return o, true
}
