package tests

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// Strangers say, in many short connections, what the protocol knows and what is nearly that,
// in frames and greetings that are cut and wrong here and there, to a broker and to a
// node: both live on, with the memory and the descriptors that they had, and a
// bystander's calls with them.
func TestStormOfMutants(t *testing.T) {
	visits := 600
	if soak() {
		visits = 60_000
	}
	b, url := brokerProcess(t, "tcp://127.0.0.1:*", "RECOVERY=1")
	n := start(t, "node", "BROKER="+url, "NAME=n", "SLOTS=2")
	endpoint := ""
	eventually(t, "the node is registered", func() bool {
		for _, n := range b.report().Status.Nodes {
			endpoint = n.Endpoint
		}
		return endpoint != ""
	})
	bystander(t, dial(t, url), "tally")
	s := newStorm(t)
	before := map[*child]int{}
	for _, c := range []*child{b, n} {
		before[c] = len(mustReadDir(t, c.pid(), "fd"))
	}
	for range visits {
		s.visit(url)
		s.visit(endpoint)
	}
	for c, descriptors := range before {
		eventually(t, "its descriptors are given back", func() bool { return len(mustReadDir(t, c.pid(), "fd")) < descriptors+20 })
		if is := resident(t, c.pid()); is > 300<<20 {
			t.Errorf("%d MiB", is>>20)
		}
	}
	if bad := b.report().Bad; len(bad) == 0 {
		t.Error("nothing was wrong")
	}
}

// storm makes messages of those that the documentation shows.
type storm struct {
	t    *testing.T
	rand *rand.Rand
	envs [][]byte
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	seed := rand.Uint64()
	t.Log("seed", seed)
	s := &storm{t: t, rand: rand.New(rand.NewPCG(seed, 0))}
	files, err := filepath.Glob("../internal/wire/testdata/golden/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatal("no messages: ", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		frame, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(file, ": ", err)
		}
		envs, err := wire.Split(frame)
		if err != nil {
			t.Fatal(file, ": ", err)
		}
		for env, ok := envs.Next(); ok; env, ok = envs.Next() {
			s.envs = append(s.envs, env)
		}
	}
	return s
}

// once reports true one time of n.
func (s *storm) once(n int) bool { return s.rand.IntN(n) == 0 }

// visit is one connection.
func (s *storm) visit(url string) {
	s.t.Helper()
	said := zmtp.AppendReady(zmtp.Greeting(), zmtp.Dealer)
	if s.once(8) {
		said = s.mutant(said)
	}
	for range 1 + s.rand.IntN(40) {
		frame := wire.AppendHead(nil)
		for range 1 + s.rand.IntN(4) {
			frame = wire.AppendEnvelope(frame, s.mutant(s.envs[s.rand.IntN(len(s.envs))]))
		}
		if s.once(8) {
			frame = s.mutant(frame)
		}
		said = binary.BigEndian.AppendUint64(append(said, 2), uint64(len(frame))) // a long message, and none behind it
		said = append(said, frame...)
	}
	if s.once(5) {
		said = said[:s.rand.IntN(len(said))]
	}
	c := connectTCP(s.t, url)
	_, _ = c.Write(said) // it may have been shown the door
	if s.once(2) {
		_, _ = c.Read(make([]byte, 1)) // which it may be shown without a word
	}
	_ = c.Close()
}

// mutant is b with a few bytes changed, left out or put in; sometimes it is b.
func (s *storm) mutant(b []byte) []byte {
	b = bytes.Clone(b)
	for range []int{0, 1, 1, 2, 4, 16}[s.rand.IntN(6)] {
		if len(b) == 0 {
			break
		}
		at := s.rand.IntN(len(b))
		switch s.rand.IntN(5) {
		case 0:
			b[at] = byte(s.rand.Uint32())
		case 1:
			b[at] ^= 1 << s.rand.IntN(8)
		case 2:
			b = append(b[:at], b[min(len(b), at+1+s.rand.IntN(8)):]...)
		case 3:
			b = append(b[:at:at], append([]byte{byte(s.rand.Uint32()), byte(s.rand.Uint32())}, b[at:]...)...)
		default:
			for i := at; i < min(len(b), at+8); i++ {
				b[i] = []byte{0, 0x7f, 0x80, 0xff}[s.rand.IntN(4)]
			}
		}
	}
	return b
}
