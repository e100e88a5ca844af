package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/jsontext"
	"github.com/limpet-rpc/limpet/session"
)

// form is how a request becomes an argument.
type form string

// The forms, but for "param NAME".
const (
	formParams form = "params"
	formJSON   form = "json"
	formRaw    form = "raw"
	formAll    form = "all"
	formNone   form = "none"
)

const oneParam = "param "

func (f form) known() bool {
	switch f {
	case formParams, formJSON, formRaw, formAll, formNone:
		return true
	}
	name, is := strings.CutPrefix(string(f), oneParam)
	return is && name != ""
}

func (f form) readsBody() bool { return f == formJSON || f == formRaw || f == formAll }

// form is the route's, or what its request method suggests.
func (r *Route) form() form {
	if r.Argument != "" {
		return form(r.Argument)
	}
	switch method, _, _ := strings.Cut(r.Path, " "); method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return formJSON
	}
	return formParams
}

// requestError is what is wrong with a request, as its status.
type requestError struct {
	status int
	error
}

func badRequest(format string, args ...any) error {
	return requestError{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

// reader makes arguments of a route's requests.
type reader struct {
	route     *Route
	form      form
	param     string   // the one that is the argument, or empty
	wildcards []string // of its path
	needed    []string // names in Need, in their order
}

var wildcard = regexp.MustCompile(`\{([^{}$]+?)(?:\.\.\.)?\}`)

func newReader(r *Route) *reader {
	n := &reader{route: r, form: r.form(), needed: slices.Sorted(maps.Keys(r.Need))}
	for _, found := range wildcard.FindAllStringSubmatch(r.Path, -1) {
		n.wildcards = append(n.wildcards, found[1])
	}
	if name, one := strings.CutPrefix(string(n.form), oneParam); one {
		n.param = name
	}
	return n
}

// argument is what a call is made with: a value, or bytes where that is nil.
type argument struct {
	value any
	bytes []byte
}

func (a argument) any() any {
	if a.value == nil {
		return a.bytes
	}
	return a.value
}

// argument is a request's, or a requestError.
func (n *reader) argument(ctx context.Context, w http.ResponseWriter, r *http.Request) (argument, error) {
	if n.param != "" && len(n.needed)+len(n.wildcards) == 0 && plain(r.URL.RawQuery) {
		return n.oneOf(r.URL.RawQuery)
	}
	params, err := n.params(r)
	if err != nil {
		return argument{}, err
	}
	var body []byte
	if n.form.readsBody() {
		if body, err = n.body(ctx, w, r); err != nil {
			return argument{}, err
		}
	}
	switch n.form {
	case formNone:
		return argument{value: client.Body{}}, nil
	case formParams:
		return argument{value: mapOf(params)}, nil
	case formRaw:
		return argument{bytes: body}, nil
	case formAll:
		return argument{value: map[string]any{"params": mapOf(params), "body": body, "type": r.Header.Get("Content-Type")}}, nil
	case formJSON:
		value, err := fromJSON(body)
		return argument{value: value}, err
	}
	values := params[n.param]
	if len(values) != 1 {
		return argument{}, n.notOnce(len(values))
	}
	return argument{bytes: []byte(values[0])}, nil
}

func (n *reader) notOnce(times int) error {
	return badRequest("parameter %q: given %d times, want it once", n.param, times)
}

// plainMost bounds the queries that are not taken apart into a map: url.ParseQuery
// has limits that they do not reach.
const plainMost = 1 << 10

// plain reports that a query has nothing to unescape, and nothing that is wrong.
func plain(query string) bool {
	return len(query) <= plainMost && strings.IndexByte(query, '%') < 0 && strings.IndexByte(query, '+') < 0 && strings.IndexByte(query, ';') < 0
}

// oneOf is the argument from a plain query.
func (n *reader) oneOf(query string) (argument, error) {
	value, times := "", 0
	for pair := range strings.SplitSeq(query, "&") {
		if key, is, _ := strings.Cut(pair, "="); key == n.param && pair != "" {
			value = is
			times++
		}
	}
	if times != 1 {
		return argument{}, n.notOnce(times)
	}
	return argument{bytes: []byte(value)}, nil
}

// params are a request's, by name.
func (n *reader) params(r *http.Request) (map[string][]string, error) {
	query, err := queryOf(r)
	if err != nil {
		return nil, badRequest("query: %w", err)
	}
	for _, name := range n.wildcards {
		query[name] = []string{r.PathValue(name)}
	}
	for _, name := range n.needed {
		want := n.route.Need[name]
		if len(query[name]) == 0 {
			return nil, badRequest("parameter %q is missing", name)
		}
		for _, value := range query[name] {
			if !want.whole.MatchString(value) {
				return nil, badRequest("parameter %q is %.60q, which does not match %s", name, value, want.text)
			}
		}
	}
	return query, nil
}

// body reads a request's body, within its size and the deadline.
func (n *reader) body(ctx context.Context, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	if end, has := ctx.Deadline(); has {
		_ = control.SetReadDeadline(end)           // where the server can
		defer control.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, n.route.Size))
	if err == nil {
		return body, nil
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, requestError{http.StatusRequestEntityTooLarge, fmt.Errorf("a body of more than %d bytes", n.route.Size)}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, requestError{http.StatusRequestTimeout, errors.New("the body did not come in time")}
	}
	return nil, badRequest("read the body: %w", err)
}

// fromJSON is a JSON text as an argument.
func fromJSON(text []byte) (any, error) {
	if len(strings.TrimSpace(string(text))) == 0 {
		return client.Body{}, nil
	}
	packed, err := jsontext.AppendPacked(nil, text)
	if err != nil {
		return nil, badRequest("the body is not JSON: %w", err)
	}
	return client.Body{Bytes: packed}, nil
}

// mapOf is parameters as an argument: text, or a list where there are several.
func mapOf(params map[string][]string) map[string]any {
	all := make(map[string]any, len(params))
	for name, values := range params {
		if len(values) == 1 {
			all[name] = values[0]
		} else {
			all[name] = values
		}
	}
	return all
}

// isBadArgument reports that the caller's argument was refused by the first
// handler, and not one on the way.
func isBadArgument(err error) bool {
	_, later := errors.AsType[*client.StageError](err)
	return !later && errors.Is(err, session.ErrBadArgument)
}
