package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/limpet-rpc/limpet/"

// listed runs go list at the module's root.
func listed(t *testing.T, args ...string) []string {
	t.Helper()
	sources, err := filepath.Glob("../*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob("../*/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(sources, deeper...) { // looked at here, so that a result is not cached for other sources
		if _, err := os.ReadFile(file); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return strings.Fields(string(out))
}

// Nothing imports the ZeroMQ binding, or needs a C compiler; tests may, to play
// strangers.
func TestNothingNeedsTheZeroMQLibrary(t *testing.T) {
	who := listed(t, "-f", `{{$p := .ImportPath}}{{range .Imports}}{{if or (eq . "github.com/pebbe/zmq4") (eq . "C")}}{{$p}}{{"\n"}}{{end}}{{end}}`, "./...")
	for _, p := range who {
		if !strings.HasPrefix(p, module+"tests/") {
			t.Errorf("%s imports the binding, or C", p)
		}
	}
}

// The pure packages, with all they need of this module, do not open sockets or
// files, need no cgo, and know no wire where they speak in plain values.
func TestPurePackages(t *testing.T) {
	never := []string{"github.com/pebbe/zmq4", "os/exec", "os/signal", "net/http", module + "internal/zmqio", "golang.org/x/sys/unix"}
	direct := append([]string{"os", "net", "syscall", "C", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog"}, never...)
	imports := map[string][]string{}
	for _, line := range listed(t, "-f", `{{.ImportPath}},{{join .Imports ","}}`, "./...") {
		of, what, _ := strings.Cut(line, ",")
		imports[of] = strings.Split(what, ",")
	}
	for _, name := range []string{
		"session", "assigner", "heartbeat", "broker/core", "worker/core", "client/core", "internal/wire", "internal/sim",
	} {
		t.Run(name, func(t *testing.T) {
			needed := listed(t, "-deps", "./"+name)
			for _, bad := range never {
				if slices.Contains(needed, bad) {
					t.Errorf("it needs %s", bad)
				}
			}
			cgo := listed(t, "-deps", "-f", "{{if and (not .Standard) .CgoFiles}}{{.ImportPath}}{{end}}", "./"+name)
			if len(cgo) > 0 {
				t.Errorf("it needs cgo for %v", cgo)
			}
			for _, of := range needed {
				if !strings.HasPrefix(of, module) {
					continue
				}
				for _, i := range imports[of] {
					seeded := name == "internal/sim" && strings.HasPrefix(i, "math/rand")
					if slices.Contains(direct, i) && !seeded {
						t.Errorf("%s imports %s", of, i)
					}
				}
			}
			if plain := []string{"session", "assigner", "heartbeat"}; slices.Contains(plain, name) && slices.Contains(needed, module+"internal/wire") {
				t.Error("it knows the wire")
			}
		})
	}
}

// The SDKs and the broker do not know each other, nor what belongs to the
// programs around them.
func TestRoomsPointOneWay(t *testing.T) {
	for name, never := range map[string][]string{
		"worker": {module + "broker", module + "broker/core", module + "client", "github.com/prometheus", "github.com/spf13"},
		"client": {module + "broker", module + "broker/core", module + "worker", "github.com/prometheus", "github.com/spf13"},
		"broker": {module + "worker", module + "worker/core", module + "client", module + "client/core", "github.com/prometheus", "net/http"},
	} {
		for _, needed := range listed(t, "-deps", "./"+name) {
			for _, bad := range never {
				if needed == bad || strings.HasPrefix(bad, "github.com/") && !strings.HasPrefix(bad, module) && strings.HasPrefix(needed, bad) {
					t.Errorf("%s needs %s", name, needed)
				}
			}
		}
	}
}
