package wire

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func branches(n int) *Next {
	all := &Next{Join: NextPlace{"stats", "join"}}
	for i := range n {
		all.Steps = append(all.Steps, NextStep{Pool: "sum", Method: "run", Args: []byte{1}, Name: fmt.Sprint("b", i)})
	}
	return all
}

func TestNextThereAndBack(t *testing.T) {
	for name, n := range map[string]*Next{
		"one step":     {Steps: []NextStep{{Pool: "square", Method: "run", Args: []byte{0x93, 1, 2, 3}}}},
		"raw":          {Steps: []NextStep{{Pool: "square", Method: "run", Args: []byte("any"), Raw: true}}},
		"branches":     branches(3),
		"all branches": branches(MaxBranches),
		"no join":      {Steps: branches(2).Steps},
		"one branch":   {Steps: branches(1).Steps},
	} {
		body, err := AppendNext([]byte("x"), n)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := AppendNext([]byte("x"), n)
		if err != nil || !bytes.Equal(body, again) {
			t.Errorf("%s: other bytes the second time, %v", name, err)
		}
		got, err := ParseNext(body[1:])
		if err != nil || !reflect.DeepEqual(got, n) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestNextThatCannotBe(t *testing.T) {
	for what, n := range map[string]*Next{
		"no steps":                     {},
		"257 steps, at most 256":       branches(MaxBranches + 1),
		"step 1: pool is empty":        {Steps: []NextStep{{Method: "run"}}},
		"step 1: method is empty":      {Steps: []NextStep{{Pool: "sum"}}},
		`step 2 is a branch named ""`:  {Steps: []NextStep{{Pool: "a", Method: "b", Name: "x"}, {Pool: "a", Method: "b"}}},
		`step 2 is a branch named "x"`: {Steps: []NextStep{{Pool: "a", Method: "b", Name: "x"}, {Pool: "a", Method: "b", Name: "x"}}},
		"join: method is empty":        {Steps: branches(2).Steps, Join: NextPlace{Pool: "a"}},
	} {
		if _, err := AppendNext(nil, n); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
}

// Whatever comes from elsewhere is read or refused.
func FuzzParseNext(f *testing.F) {
	good, err := AppendNext(nil, branches(2))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte{0x81, 0xa5, 's', 't', 'e', 'p', 's', 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xc0})
	f.Add([]byte{0x81, 0xa5, 's', 't', 'e', 'p', 's', 0x91, 0x81, 0xa0, 0xc1})
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := ParseNext(body)
		if err == nil && n.Check() != nil {
			t.Errorf("%x is read as %+v", body, n)
		}
	})
}
