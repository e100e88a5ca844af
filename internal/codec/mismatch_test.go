package codec

import "testing"

func TestMismatchesAreSaidInWords(t *testing.T) {
	type point struct {
		X int `json:"x"`
	}
	for _, c := range []struct {
		value any
		into  any
		want  string
	}{
		{"five", new(int), "a string where an integer is wanted"},
		{5, new(string), "an integer where a string or bytes is wanted"},
		{[]int{1}, new(float64), "an array where a number is wanted"},
		{map[string]int{"a": 1}, new(bool), "a map where true or false is wanted"},
		{true, new([]int), "true or false where an array is wanted"},
		{map[string]string{"x": "one"}, new(point), "a string where an integer is wanted"},
	} {
		body, raw, err := Append(nil, c.value)
		if err != nil {
			t.Fatal(err)
		}
		err = Decode(body, raw, c.into)
		if err == nil || err.Error() != c.want {
			t.Errorf("%v into %T: %v, want %q", c.value, c.into, err, c.want)
		}
	}
}
