package wire

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/golden anew")

func goldenPath(k Kind) string { return filepath.Join("testdata", "golden", k.String()+".hex") }

// hexLines writes bytes as lines of 32.
func hexLines(b []byte) string {
	var lines strings.Builder
	for len(b) > 0 {
		n := min(32, len(b))
		lines.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	return lines.String()
}

func unhex(t testing.TB, lines string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(lines), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func golden(t testing.TB, k Kind) string {
	t.Helper()
	b, err := os.ReadFile(goldenPath(k))
	if err != nil {
		t.Fatalf("%v (go test ./internal/wire -run Golden -update writes it)", err)
	}
	return string(b)
}

// Every kind is a frame in testdata/golden: a change of any byte of the
// protocol shows here.
func TestGoldenFrames(t *testing.T) {
	all := envelopes()
	for _, k := range Kinds() {
		env, ok := all[k]
		if !ok {
			t.Errorf("no sample of %s", k)
			continue
		}
		lines := hexLines(AppendEnvelope(AppendHead(nil), env))
		if *update {
			if err := os.WriteFile(goldenPath(k), []byte(lines), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if was := golden(t, k); was != lines {
			t.Errorf("%s is\n%swas\n%s", k, lines, was)
		}
	}
	files, err := filepath.Glob(goldenPath(0)[:len(goldenPath(0))-len("kind 0.hex")] + "*")
	if err != nil || len(files) != len(Kinds()) {
		t.Errorf("%d golden files for %d kinds, %v", len(files), len(Kinds()), err)
	}
}

// The golden bytes, read back, are the values they were made of.
func TestGoldenFramesRead(t *testing.T) {
	samples := map[Kind]Control{}
	for _, m := range controlSamples() {
		samples[m.Kind()] = m
	}
	for _, k := range Kinds() {
		envs, err := Split(unhex(t, golden(t, k)))
		if err != nil {
			t.Fatalf("%s: %v", k, err)
		}
		env, ok := envs.Next()
		if !ok || KindOf(env) != k {
			t.Fatalf("%s: %v", k, envs.Err())
		}
		if _, more := envs.Next(); more || envs.Err() != nil {
			t.Errorf("%s: more than one envelope, or %v", k, envs.Err())
		}
		if want := samples[k]; want != nil {
			if m, err := ParseControl(env); err != nil || !reflect.DeepEqual(m, want) {
				t.Errorf("%s reads as %+v, %v, want %+v", k, m, err, want)
			}
			continue
		}
		h, rest, err := ParseHeader(env)
		if err != nil {
			t.Fatalf("%s: %v", k, err)
		}
		if again := append(h.Append(nil), rest...); !bytes.Equal(again, env) {
			t.Errorf("%s: written again it is\n%x, was\n%x", k, again, env)
		}
	}
}
