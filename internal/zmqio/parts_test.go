package zmqio

import (
	"errors"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
)

func TestDirectory(t *testing.T) {
	var d directory
	peers := make([]*peer, 3*shelfSize)
	seen := map[wire.Peer]bool{}
	for i := range peers {
		peers[i] = &peer{}
		if err := d.enter(peers[i]); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		for i, p := range peers {
			if seen[p.id] || p.id == 0 {
				t.Fatalf("round %d: number %d given twice", round, p.id)
			}
			seen[p.id] = true
			if d.find(p.id) != p {
				t.Fatalf("peer %d not found", p.id)
			}
			d.remove(p)
			d.remove(p)
			if d.find(p.id) != nil {
				t.Fatalf("peer %d found after its removal", p.id)
			}
			peers[i] = &peer{}
			if err := d.enter(peers[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d.size() != len(peers) || len(*d.shelves.Load()) != 3 {
		t.Errorf("%d peers on %d shelves", d.size(), len(*d.shelves.Load()))
	}
	for _, nobody := range []wire.Peer{0, ^wire.Peer(0), peers[0].id + 1<<slotBits} {
		if d.find(nobody) != nil {
			t.Errorf("found %d", nobody)
		}
	}
}

func TestRosterKeepsTheOrderOfTraffic(t *testing.T) {
	var r roster
	peers := map[string]*peer{}
	names := map[*peer]string{}
	for i, key := range []string{"a", "b", "c", "d"} {
		peers[key] = &peer{}
		names[peers[key]] = key
		r.add(peers[key], int64(i))
	}
	r.touch(peers["a"], 10)
	r.touch(peers["d"], 11)
	r.touch(peers["d"], 11)
	r.remove(peers["c"])
	r.remove(peers["c"])
	var forth, back string
	for p := r.oldest; p != nil; p = p.newer {
		forth += names[p]
	}
	for p := r.newest; p != nil; p = p.older {
		back += names[p]
	}
	if forth != "bad" || back != "dab" || r.size != 3 {
		t.Errorf("order %q, backwards %q, size %d", forth, back, r.size)
	}
	for _, key := range []string{"b", "a", "d"} {
		r.remove(peers[key])
	}
	if r.oldest != nil || r.newest != nil || r.size != 0 {
		t.Error("not empty")
	}
}

func TestOutbox(t *testing.T) {
	var o outbox
	add := func(envs ...string) {
		for _, e := range envs {
			o.add([]byte(e))
		}
	}
	big := strings.Repeat("x", frameFull)
	add("a", "b", big, "c")
	taken := o.take()
	bytes := o.bytes
	add("d")
	first := len(taken.body())
	rest := taken.recycle()
	o.sent(first)
	o.restore(rest)
	add("e")
	var got []string
	total := 0
	for f := o.take(); f != nil; f = f.recycle() {
		envs := unbody(t, f.body())
		if len(envs) != f.envelopes {
			t.Errorf("%d envelopes counted as %d", len(envs), f.envelopes)
		}
		got = append(got, envs...)
		total += len(f.body())
	}
	if s := strings.Join(got, ""); s != "cde" {
		t.Errorf("left over %q", s)
	}
	if o.bytes != total || bytes <= first {
		t.Errorf("%d bytes counted, %d there", o.bytes, total)
	}
	if o.fits(100, total+50) || !o.fits(100, total+100) {
		t.Error("fits misjudges")
	}
	add("f", "g")
	if lost := o.discard(); lost != 2 || o.bytes != 0 || !o.fits(100, 1) {
		t.Errorf("%d lost, %d bytes left", lost, o.bytes)
	}
}

func TestAssemblyKeepsOneBodyAtMost(t *testing.T) {
	var a assembly
	for range 1000 {
		if a.add(part{bytes: make([]byte, 1000), more: true}) {
			t.Fatal("complete before the last part")
		}
		if len(a.body) != 0 || a.expects(false) {
			t.Fatal("keeps a part of a message that is malformed already")
		}
	}
	if !a.add(part{bytes: []byte("last")}) || !errors.Is(a.fault, ErrExtraFrames) {
		t.Errorf("fault %v", a.fault)
	}
}
