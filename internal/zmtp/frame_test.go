package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestReadHead(t *testing.T) {
	long := func(flags byte, size uint64) string {
		return string(binary.BigEndian.AppendUint64([]byte{flags}, size))
	}
	for _, c := range []struct {
		in   string
		head Head
		n    int
		err  error
	}{
		{"", Head{}, 0, nil},
		{"\x00\x00", Head{}, 2, nil},
		{"\x00\xffbody", Head{Size: 255}, 2, nil},
		{"\x01\x07", Head{Size: 7, More: true}, 2, nil},
		{"\x04\x05", Head{Size: 5, Command: true}, 2, nil},
		{long(2, 256), Head{Size: 256}, 9, nil},
		{long(2, 3), Head{Size: 3}, 9, nil},
		{long(3, 1<<62), Head{Size: 1 << 62, More: true}, 9, nil},
		{long(6, 9), Head{Size: 9, Command: true}, 9, nil},
		{long(2, 1<<63), Head{}, 0, ErrFrame},
		{"\x05\x00", Head{}, 0, ErrFrame},
		{"\x07", Head{}, 0, ErrFrame},
		{"\x08\x00", Head{}, 0, ErrFrame},
		{"\x80", Head{}, 0, ErrFrame},
	} {
		head, n, err := ReadHead([]byte(c.in))
		if n != c.n || !errors.Is(err, c.err) || n > 0 && head != c.head {
			t.Errorf("%q: %+v, %d, %v, want %+v, %d, %v", c.in, head, n, err, c.head, c.n, c.err)
		}
		for cut := range c.n {
			if _, n, err := ReadHead([]byte(c.in)[:cut]); n != 0 || err != nil {
				t.Errorf("%d bytes of %q: %d, %v", cut, c.in, n, err)
			}
		}
	}
}

func TestPrecede(t *testing.T) {
	for _, size := range []int{0, 1, 255, 256, 257, 70_000} {
		for _, delimiter := range []bool{false, true} {
			dst := make([]byte, Room+size)
			at := dst[Precede(dst, Room, size, delimiter):]
			if delimiter {
				h, n, err := ReadHead(at)
				if h != (Head{More: true}) || n != shortHead || err != nil {
					t.Fatalf("size %d: delimiter %+v, %d, %v", size, h, n, err)
				}
				at = at[n:]
			}
			h, n, err := ReadHead(at)
			if h != (Head{Size: uint64(size)}) || len(at) != n+size || err != nil {
				t.Errorf("size %d: %+v, %d, %v", size, h, n, err)
			}
		}
	}
	if h, n, err := ReadHead(Empty()); h != (Head{}) || n != len(Empty()) || err != nil {
		t.Errorf("Empty: %+v, %d, %v", h, n, err)
	}
}

// Whatever comes is a head, the beginning of one, or refused; and what can be said
// again, in the shortest way, reads the same.
func FuzzReadHead(f *testing.F) {
	for _, in := range []string{"", "\x00\x05", "\x01\x00", "\x02\x00\x00\x00\x00\x00\x00\x01\x00", "\x06\xff", "\xff"} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ReadHead(b)
		if err != nil {
			if !errors.Is(err, ErrFrame) || n != 0 {
				t.Fatal(n, err)
			}
			return
		}
		if n == 0 {
			if len(b) >= MaxHead {
				t.Errorf("%d bytes are no whole head", len(b))
			}
			return
		}
		if more, m, err := ReadHead(append(bytes.Clone(b[:n]), "tail"...)); more != h || m != n || err != nil {
			t.Errorf("%q reads otherwise with a tail: %+v, %d, %v", b[:n], more, m, err)
		}
		if h.More || h.Command {
			return
		}
		dst := make([]byte, Room)
		again, m, err := ReadHead(dst[Precede(dst, Room, int(h.Size), false):])
		if again != h || m > n && h.Size >= 256 || err != nil {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}
