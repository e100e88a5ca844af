package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/broker/admin"
)

// named is a name in code that links to a Go file: [`Name`](../file.go).
var named = regexp.MustCompile("\\[`(\\w+)`\\]\\((\\.\\./[^)#]+\\.go)\\)")

// linked is any other link: to a file, and perhaps to a heading in it.
var linked = regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What guarantees.md and operations.md name is there: a test is a test of that
// file, anything else is declared in it.
func TestPagesNameWhatExists(t *testing.T) {
	tests := 0
	for _, name := range []string{"guarantees.md", "operations.md"} {
		for _, m := range named.FindAllStringSubmatch(page(t, name), -1) {
			what, file := m[1], m[2]
			source, err := os.ReadFile(filepath.Join("../docs", file))
			if err != nil {
				t.Errorf("%s names %s: %v", name, what, err)
				continue
			}
			declared := `(?m)^(func( \([^)]*\))? |type |\t*const |var |\t)` + what + `\b`
			if strings.HasPrefix(what, "Test") || strings.HasPrefix(what, "Fuzz") {
				tests++
				declared = `(?m)^func ` + what + `\(`
			} else if !strings.Contains(file, "_test.go") {
				declared += `|, ` + what + ` ` // one of several fields on a line
			}
			if !regexp.MustCompile(declared).Match(source) {
				t.Errorf("%s names %s in %s, which does not have it", name, what, file)
			}
		}
	}
	if tests < 50 {
		t.Errorf("the pages name %d tests: their links are not read as they are written", tests)
	}
}

// Links of the pages lead to files and headings that exist.
func TestPagesLinkToWhatExists(t *testing.T) {
	for _, name := range []string{"guarantees.md", "operations.md"} {
		for _, m := range linked.FindAllStringSubmatch(page(t, name), -1) {
			file, heading := m[1], strings.TrimPrefix(m[2], "#")
			if file == "" {
				file = name
			}
			if _, err := os.Stat(filepath.Join("../docs", file)); err != nil {
				t.Errorf("%s links to %s: %v", name, file, err)
				continue
			}
			if heading != "" && !slices.Contains(headings(page(t, file)), heading) {
				t.Errorf("%s links to %s, which has no heading %q", name, file, heading)
			}
		}
	}
}

// headings are a page's, as links name them.
func headings(text string) (all []string) {
	for line := range strings.Lines(text) {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			title = strings.ToLower(strings.TrimSpace(title))
			title = regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(title, "")
			all = append(all, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return all
}

// firsts are the first cells, in code or bare, of the table below a heading.
func firsts(t *testing.T, text, heading string) (all []string) {
	t.Helper()
	_, section, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("operations.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("(?m)^\\| `?([^|` ]+)`? \\|").FindAllStringSubmatch(section, -1) {
		all = append(all, m[1])
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "name" || s == "flag" || s == "code" })
}

// operations.md lists every metric, the flags of broker and exec, and the exit codes, and
// no other.
func TestPagesListWhatTheProgramHas(t *testing.T) {
	text := page(t, "operations.md")
	program := filepath.Join(t.TempDir(), "limpet")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../cmd/limpet").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	var metrics []string
	for _, m := range admin.Metrics() {
		metrics = append(metrics, m.Name)
	}
	same(t, "metrics", firsts(t, text, "Metrics"), metrics)
	flag := regexp.MustCompile(`(?m)^ +(--[a-z-]+) `)
	same(t, "flags of the broker", firsts(t, text, "The broker"), matches(flag, help(t, program, "broker", "--help")))
	same(t, "flags of exec", firsts(t, text, "Programs as workers"), matches(flag, help(t, program, "exec", "--help")))
	code := regexp.MustCompile(`(?m)^ +(\d+)  `)
	same(t, "exit codes", firsts(t, text, "Exit codes"), matches(code, help(t, program, "exit-codes")))
}

func matches(what *regexp.Regexp, in string) (all []string) {
	for _, m := range what.FindAllStringSubmatch(in, -1) {
		all = append(all, m[1])
	}
	return all
}

func same(t *testing.T, what string, listed, there []string) {
	t.Helper()
	slices.Sort(listed)
	slices.Sort(there)
	if len(there) == 0 || !slices.Equal(listed, there) {
		t.Errorf("operations.md lists these %s:\n%q\nthere are:\n%q", what, listed, there)
	}
}

// help is what the program says of itself.
func help(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return string(out)
}
