package front

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Routes is what a front serves.
type Routes struct {
	Most     int                 `toml:"most"`    // requests at once, beyond it 503; default 1024
	Health   string              `toml:"health"`  // path of the health page, default /healthz; "off" for none
	Routes   []Route             `toml:"route"`   // at least one
	Sessions map[string]Sessions `toml:"session"` // by the name that routes use

	at lines
}

// Route leads from a method and path to a method of a pool.
type Route struct {
	Path    string `toml:"path"`    // a pattern of http.ServeMux: "GET /users/{id}"
	Pool    string `toml:"pool"`    // whose sessions of one call serve it
	Session string `toml:"session"` // or the name of the sessions in which its calls are made
	End     bool   `toml:"end"`     // which end with this call
	Method  string `toml:"method"`

	Argument string            `toml:"argument"` // see the package; default by the request's method
	Need     map[string]Regexp `toml:"need"`     // parameters that must be there and match as a whole
	Size     int64             `toml:"size"`     // the body's most bytes; default 4 MiB

	Deadline Span              `toml:"deadline"` // of all; default 30 s
	Wait     Span              `toml:"wait"`     // for a worker; default: the deadline
	Priority int               `toml:"priority"` // -8 to 8
	Labels   map[string]string `toml:"labels"`   // that the worker's node must have
	Hops     int               `toml:"hops"`     // steps that a call may go on; default 64
	Keep     int               `toml:"keep"`     // sessions that are kept open for the route, see the package; default 0
	Ahead    int               `toml:"ahead"`    // calls that one of them may have at once; default 1

	Idempotent     bool    `toml:"idempotent"`      // running it twice does no harm
	Type           string  `toml:"type"`            // the Content-Type of a result
	Events         bool    `toml:"events"`          // always answers with server-sent events
	Fallback       *string `toml:"fallback"`        // the body in place of a 502, 503 or 504
	FallbackStatus int     `toml:"fallback_status"` // its status, default 200

	at lines
}

// Sessions is a kind of session that a front keeps for its users.
type Sessions struct {
	Pool   string            `toml:"pool"`
	Cookie string            `toml:"cookie"` // the name of the cookie that names it,
	Header string            `toml:"header"` // or of the header
	Secure bool              `toml:"secure"` // the cookie is for HTTPS only
	Idle   Span              `toml:"idle"`   // without a call it ends; default 10 min
	Most   int               `toml:"most"`   // at once, beyond it 503; default 1024
	Lost   string            `toml:"lost"`   // of a request for one that is over: "renew", the default, or "gone": 410
	Labels map[string]string `toml:"labels"`

	at lines
}

// Span is a duration as files have it, "1.5s".
type Span struct {
	time.Duration

	wrong error // told by check, which knows where it stands
}

// UnmarshalText reads it.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if s.Duration = d; err != nil || d <= 0 {
		s.wrong = fmt.Errorf(`want a duration such as "500ms", "2s" or "1m", not %.40q`, text)
	}
	return nil
}

// Regexp is a regular expression that has to match a whole text.
type Regexp struct {
	whole *regexp.Regexp
	text  string
	wrong error // told by check
}

// NewRegexp compiles one.
func NewRegexp(text string) (Regexp, error) {
	whole, err := regexp.Compile(`^(?:` + text + `)$`)
	return Regexp{whole, text, err}, err
}

// UnmarshalText reads it.
func (r *Regexp) UnmarshalText(text []byte) error {
	*r, _ = NewRegexp(string(text))
	return nil
}

// Defaults of what a route or its file does not say.
const (
	DefaultMost     = 1024
	DefaultSize     = 4 << 20
	DefaultDeadline = 30 * time.Second
	DefaultIdle     = 10 * time.Minute
	DefaultHealth   = "/healthz"
	off             = "off"
)

// ReadRoutes reads a file of routes. Its errors name the file, and line and key
// of all mistakes that were found, one a line.
func ReadRoutes(path string) (*Routes, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	r, err := ParseRoutes(text)
	if err != nil {
		return nil, fmt.Errorf("routes file %s: %w", path, err)
	}
	return r, nil
}

// ParseRoutes reads routes from TOML. Unknown keys are errors, as all mistakes.
func ParseRoutes(text []byte) (*Routes, error) {
	r := new(Routes)
	err := toml.NewDecoder(strings.NewReader(string(text))).DisallowUnknownFields().Decode(r)
	if err != nil {
		return nil, inLines(err)
	}
	r.locate(string(text))
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// inLines says where in the file the mistakes are.
func inLines(err error) error {
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var all []error
		for i := range strict.Errors {
			row, _ := strict.Errors[i].Position()
			all = append(all, fmt.Errorf("line %d: unknown key %q", row, strings.Join(strict.Errors[i].Key(), ".")))
		}
		return errors.Join(all...)
	}
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, _ := wrong.Position()
		text := strings.TrimPrefix(wrong.Error(), "toml: ")
		if key := wrong.Key(); len(key) > 0 {
			return fmt.Errorf("line %d: key %q: %s", row, strings.Join(key, "."), text)
		}
		return fmt.Errorf("line %d: %s", row, text)
	}
	return err
}

// lines are where in its file a table begins, and its keys stand. The zero value
// is of no file.
type lines struct {
	head int
	keys map[string]int
}

var (
	tableLine = regexp.MustCompile(`^\s*\[\[?\s*"?(route|session)"?\s*(?:\.\s*"?([^"\]]+?)"?\s*)?\]`)
	keyLine   = regexp.MustCompile(`^\s*"?([a-z_]+)"?\s*[.=]`)
)

// locate notes the lines of what the file holds, for errors.
func (r *Routes) locate(text string) {
	n, route := 0, -1
	r.at.keys = map[string]int{}
	at := &r.at
	for line := range strings.Lines(text) {
		n++
		head, key := tableLine.FindStringSubmatch(line), keyLine.FindStringSubmatch(line)
		switch {
		case head != nil && head[1] == "route" && head[2] == "": // [[route]]
			if route++; route < len(r.Routes) {
				at = &r.Routes[route].at
				*at = lines{n, map[string]int{}}
			}
		case head != nil && head[1] == "route" && at.keys != nil: // [route.need]
			at.keys[head[2]] = n
		case head != nil && head[1] == "session":
			s, known := r.Sessions[head[2]]
			s.at = lines{n, map[string]int{}}
			if at = &s.at; known {
				r.Sessions[head[2]] = s // its keys are one map with at's
			}
		case key != nil && at.keys != nil:
			at.keys[key[1]] = n
		}
	}
}

// mistakes gathers what is wrong with a table.
type mistakes struct {
	where string
	at    lines
	all   []error
}

func (m *mistakes) addf(key, format string, args ...any) {
	line := ""
	if n := cmp.Or(m.at.keys[key], m.at.head); n > 0 {
		line = fmt.Sprintf("line %d: ", n)
	}
	m.all = append(m.all, fmt.Errorf(line+m.where+"key %q: "+format, append([]any{key}, args...)...))
}

// check finds what is missing or contradicts itself, and fills in what was left
// out.
func (r *Routes) check() error {
	r.Most = cmp.Or(r.Most, DefaultMost)
	r.Health = cmp.Or(r.Health, DefaultHealth)
	m := mistakes{at: r.at}
	if r.Most < 0 {
		m.addf("most", "want a number above 0, not %d", r.Most)
	}
	if len(r.Routes) == 0 {
		m.addf("route", "there are no routes: a file has at least one [[route]]")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Sessions)) {
		s := r.Sessions[name]
		m.where, m.at = "session "+name+": ", s.at
		s.check(&m)
		r.Sessions[name] = s
	}
	mux := http.NewServeMux()
	if r.Health != off {
		m.where, m.at = "", r.at
		if err := register(mux, "GET "+r.Health, nobody); err != nil {
			m.addf("health", "%w", err)
		}
	}
	for i := range r.Routes {
		to := &r.Routes[i]
		m.where, m.at = fmt.Sprintf("route %d (%s): ", i+1, cmp.Or(to.Path, "without a path")), to.at
		to.check(r.Sessions, &m)
		if err := register(mux, to.Path, nobody); err != nil {
			m.addf("path", "%w", err)
		}
	}
	return errors.Join(m.all...)
}

var nobody = http.NotFoundHandler()

// registered is what a conflict says of the program that registers patterns.
var registered = regexp.MustCompile(` \(registered at [^)]*\)`)

// register gives a pattern its handler. What ServeMux panics about is an error.
func register(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New(strings.ReplaceAll(registered.ReplaceAllString(fmt.Sprint(p), ""), "\n", " "))
		}
	}()
	if pattern != "" {
		mux.Handle(pattern, h)
	}
	return nil
}

func (r *Route) check(sessions map[string]Sessions, m *mistakes) {
	r.Size = cmp.Or(r.Size, DefaultSize)
	r.Deadline.Duration = cmp.Or(r.Deadline.Duration, DefaultDeadline)
	r.FallbackStatus = cmp.Or(r.FallbackStatus, http.StatusOK)
	wrong := m.addf
	if r.Path == "" {
		wrong("path", "is missing")
	}
	if r.Method == "" {
		wrong("method", "is missing: the method that serves it")
	}
	switch _, known := sessions[r.Session]; {
	case r.Pool == "" && r.Session == "":
		wrong("pool", "is missing, and so is session")
	case r.Pool != "" && r.Session != "":
		wrong("session", "and pool are both given: a route has one of them")
	case r.Session != "" && !known:
		wrong("session", "there is no [session.%s]", r.Session)
	case r.End && r.Session == "":
		wrong("end", "is for routes with a session")
	}
	if len(r.Labels) > 0 && r.Session != "" {
		wrong("labels", "belong to [session.%s]: all its routes share its worker", r.Session)
	}
	if !r.form().known() {
		wrong("argument", `want params, "param NAME", json, raw, all or none, not %q`, r.Argument)
	}
	r.checkNumbers(m)
	for key, span := range map[string]Span{"deadline": r.Deadline, "wait": r.Wait} {
		if span.wrong != nil {
			wrong(key, "%w", span.wrong)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Need)) {
		if err := r.Need[name].wrong; err != nil {
			wrong("need", "%s: %w", name, err)
		}
	}
}

func (r *Route) checkNumbers(m *mistakes) {
	wrong := m.addf
	if r.Size < 0 {
		wrong("size", "want a number of bytes above 0, not %d", r.Size)
	}
	if r.Priority < -8 || r.Priority > 8 {
		wrong("priority", "want -8 to 8, not %d", r.Priority)
	}
	if r.Priority != 0 && r.Keep > 0 {
		wrong("priority", "is for routes without keep: what is kept is opened after everybody else's")
	}
	if r.Hops < 0 {
		wrong("hops", "want a number above 0, not %d", r.Hops)
	}
	if r.Keep < 0 || r.Keep > 0 && r.Session != "" {
		wrong("keep", "want a number above 0, and no session beside it")
	}
	if r.Ahead < 0 || r.Ahead > 0 && r.Keep == 0 {
		wrong("ahead", "want a number above 0, and keep beside it")
	}
	if r.FallbackStatus < 200 || r.FallbackStatus > 599 {
		wrong("fallback_status", "want a status from 200 to 599, not %d", r.FallbackStatus)
	}
}

func (s *Sessions) check(m *mistakes) {
	s.Idle.Duration = cmp.Or(s.Idle.Duration, DefaultIdle)
	s.Most = cmp.Or(s.Most, DefaultMost)
	s.Lost = cmp.Or(s.Lost, lostRenew)
	if s.Pool == "" {
		m.addf("pool", "is missing")
	}
	if (s.Cookie == "") == (s.Header == "") {
		m.addf("cookie", "want either cookie or header, the name of one")
	}
	if err := (&http.Cookie{Name: cmp.Or(s.Cookie, "c"), Value: "v"}).Valid(); err != nil { //nolint:gosec // only its name is looked at
		m.addf("cookie", "%w", err)
	}
	if s.Lost != lostRenew && s.Lost != lostGone {
		m.addf("lost", "want renew or gone, not %q", s.Lost)
	}
	if s.Most < 0 {
		m.addf("most", "want a number above 0, not %d", s.Most)
	}
	if s.Idle.wrong != nil {
		m.addf("idle", "%w", s.Idle.wrong)
	}
}

const (
	lostRenew = "renew"
	lostGone  = "gone"
)
