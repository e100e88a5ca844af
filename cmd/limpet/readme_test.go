package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const top = "../.."

// TestReadme holds the README to the repository: its Go blocks are the files
// that it names, whatever it links to is there, and the flags it shows exist.
func TestReadme(t *testing.T) {
	readme := content(t, "README.md")
	for _, file := range []string{"examples/counter/worker/main.go", "examples/counter/client/main.go"} {
		block := "[" + file + "](" + file + ")"
		_, after, found := strings.Cut(readme, block)
		if !found {
			t.Errorf("README.md does not name %s", file)
			continue
		}
		_, after, _ = strings.Cut(after, "```go\n")
		code, _, _ := strings.Cut(after, "```\n")
		if code != content(t, file) {
			t.Errorf("README.md does not show %s as it is", file)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#\s]+)\)`).FindAllStringSubmatch(readme, -1) {
		if strings.Contains(link[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(top, link[1])); err != nil {
			t.Errorf("README.md links to %s: %v", link[1], err)
		}
	}
	var none *cell
	help := ""
	for _, cmd := range []string{"broker", "exec", "http", "status", "call", "broadcast", "session", "job", "bench"} {
		help += none.limpet(t, "", cmd, "--help").out
	}
	for _, flag := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(readme, -1) {
		if !strings.Contains(help, flag+" ") {
			t.Errorf("README.md shows %s, which no command has", flag)
		}
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
