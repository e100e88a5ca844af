package front

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// A query that is read without a map says what it says with one.
func TestOneParameter(t *testing.T) {
	for _, query := range []string{
		"", "n", "n=", "n=1", "m=1", "n=1&n=2", "m=1&n=2&k", "&&n=1&", "=1", "=&n=x=y", "nn=1&n=2", "n=1&=", "N=1",
	} {
		if !plain(query) {
			t.Errorf("%q is not plain", query)
		}
		n := newReader(&Route{Path: "GET /x", Argument: "param n"})
		got, err := n.argument(t.Context(), httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x?"+query, nil))
		all, wrong := url.ParseQuery(query)
		if wrong != nil || (err == nil) != (len(all["n"]) == 1) || err == nil && (string(got.bytes) != all["n"][0] || got.value != nil) {
			t.Errorf("%q: %q, %v, where the map has %q", query, got.bytes, err, all["n"])
		}
	}
	for _, query := range []string{"n=%41", "n=a+b", "n=1;m=2", "%zz"} {
		if plain(query) {
			t.Errorf("%q is plain", query)
		}
	}
}
