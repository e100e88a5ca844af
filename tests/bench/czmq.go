package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// czmq is C over libzmq: client, broker and worker are czmq/echo.c, which is
// compiled once and kept in a folder of temporary files. Each role process
// becomes the C program, so that its CPU time and memory are those of C alone.
type czmq struct {
	name    string
	servers []Server
}

//go:embed czmq/echo.c
var czmqSource []byte

// czmqDirect is a DEALER that speaks with a ROUTER, one thread each.
func czmqDirect() czmq { return czmq{"c-direct", []Server{{"worker", becomeC("worker")}}} }

// czmqThreads is the same with a thread of the worker for each session.
func czmqThreads() czmq {
	return czmq{"c-threads", []Server{{"worker", func(ctx context.Context, p *Process) error {
		return becomeC("threads", strconv.Itoa(p.Sessions))(ctx, p)
	}}}}
}

// czmqBroker has a broker with two ROUTERs in between.
func czmqBroker() czmq {
	return czmq{"c-broker", []Server{{"broker", becomeC("broker")}, {"worker", func(ctx context.Context, p *Process) error {
		_, workers, ok := strings.Cut(p.At[0], " ")
		if !ok {
			return fmt.Errorf("read endpoints %q", p.At[0])
		}
		return becomeC("relayed", workers)(ctx, p)
	}}}}
}

func (c czmq) Name() string      { return c.name }
func (c czmq) Servers() []Server { return c.servers }

// Missing says why the C program cannot be had here.
func (czmq) Missing(ctx context.Context) error {
	_, err := czmqProgram(ctx)
	return err
}

// Dial is not how C makes calls: it is a Driver.
func (czmq) Dial(context.Context, *Process) ([]Caller, error) {
	return nil, errors.New("the C client makes its load itself")
}

// becomeC replaces the role process by the C program, which announces itself and
// ends with its stdin as every role does.
func becomeC(args ...string) Role {
	return func(ctx context.Context, _ *Process) error {
		program, err := czmqProgram(ctx)
		if err != nil {
			return err
		}
		return fmt.Errorf("become %s: %w", program, syscall.Exec(program, append([]string{program}, args...), os.Environ()))
	}
}

// Drive has the C client make the load, and samples CPU times as it says where
// its window begins and ends.
func (czmq) Drive(ctx context.Context, p *Process, order LoadOrder) (Load, error) {
	program, err := czmqProgram(ctx)
	if err != nil {
		return Load{}, err
	}
	at, _, _ := strings.Cut(p.At[0], " ")
	cmd := exec.CommandContext(ctx, program, "client", at, strconv.Itoa(p.Sessions), strconv.Itoa(order.Size),
		strconv.FormatInt(int64(order.WarmUp), 10), strconv.FormatInt(int64(order.Window), 10))
	said := &tail{}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		return Load{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Load{}, err
	}
	if err := cmd.Start(); err != nil {
		return Load{}, err
	}
	load, err := czmqLoad(bufio.NewReader(out), append(order.Pids, cmd.Process.Pid))
	in.Close() // ends it
	if ended := cmd.Wait(); err != nil {
		return load, fmt.Errorf("the C client: %w, %v: %s", err, ended, said) //nolint:errorlint // how it ended is told, not to be asked for
	}
	return load, nil
}

// czmqLoad reads what the C client says. pids count, the client's last.
func czmqLoad(out *bufio.Reader, pids []int) (Load, error) {
	if line, err := out.ReadString('\n'); err != nil || line != "begin\n" {
		return Load{}, fmt.Errorf("it said %q where its window begins: %w", line, err)
	}
	before, err := cpuTimes(pids)
	if err != nil {
		return Load{}, err
	}
	line, err := out.ReadString('\n')
	if err != nil {
		return Load{}, fmt.Errorf("it said %q where its window ends: %w", line, err)
	}
	load, err := parseCLoad(line)
	if err != nil {
		return load, err
	}
	return load, load.use(pids, before)
}

// parseCLoad reads "end CALLS NANOSECONDS BUCKET:COUNT...".
func parseCLoad(line string) (Load, error) {
	var load Load
	words := strings.Fields(line)
	if len(words) < 4 || words[0] != "end" {
		return load, fmt.Errorf("%.80q is no end of a window", line)
	}
	var h histogram
	_, err := fmt.Sscan(words[1]+" "+words[2], &load.Calls, (*int64)(&load.Elapsed))
	for _, word := range words[3:] {
		var bucket int
		var count int64
		if _, bad := fmt.Sscanf(word, "%d:%d", &bucket, &count); bad != nil || bucket < 0 || bucket >= len(h.buckets) {
			return load, fmt.Errorf("%q is no bucket", word)
		}
		h.buckets[bucket].Add(count)
		h.total.Add(count)
	}
	if err == nil && h.Count() != load.Calls {
		err = fmt.Errorf("%d calls, %d of them in its histogram", load.Calls, h.Count())
	}
	load.P50, load.P99 = h.Quantile(0.5), h.Quantile(0.99)
	return load, err
}

// czmqProgram compiles the C program unless that was done before, and returns
// its path.
func czmqProgram(ctx context.Context) (string, error) {
	folder, err := ownFolder()
	if err != nil {
		return "", fmt.Errorf("compile the C peers: %w", err)
	}
	flags, err := czmqFlags(ctx)
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(append([]byte(compiler()+strings.Join(flags, " ")), czmqSource...))
	program := filepath.Join(folder, fmt.Sprintf("echo-%x", key[:6]))
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	source := program + ".c"
	if err := os.WriteFile(source, czmqSource, 0o600); err != nil {
		return "", fmt.Errorf("compile the C peers: %w", err)
	}
	fresh := fmt.Sprintf("%s.%d", program, os.Getpid()) // another process may compile it too
	cmd := exec.CommandContext(ctx, compiler(), append([]string{"-O2", "-Wall", "-pthread", "-o", fresh, source}, flags...)...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile the C peers with %s: %w: %s", compiler(), err, strings.TrimSpace(string(said)))
	}
	return program, os.Rename(fresh, program)
}

func compiler() string {
	if cc := os.Getenv("CC"); cc != "" {
		return cc
	}
	return "cc"
}

// czmqFlags are libzmq's, for compiler and linker.
func czmqFlags(ctx context.Context) ([]string, error) {
	if _, err := exec.LookPath(compiler()); err != nil {
		return nil, fmt.Errorf("there is no C compiler: %w", err)
	}
	out, err := exec.CommandContext(ctx, "pkg-config", "--cflags", "--libs", "libzmq").Output()
	if err != nil {
		return nil, fmt.Errorf("ask pkg-config for libzmq: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// ownFolder is a folder for programs among the temporary files that nobody else
// can write to.
func ownFolder() (string, error) {
	folder := filepath.Join(os.TempDir(), fmt.Sprintf("limpet-bench-%d", os.Getuid()))
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	about, err := os.Lstat(folder)
	if err != nil {
		return "", err
	}
	owner, ok := about.Sys().(*syscall.Stat_t)
	if !ok || !about.IsDir() || int(owner.Uid) != os.Getuid() || about.Mode().Perm() != 0o700 {
		return "", fmt.Errorf("%s is not a folder of this user alone", folder)
	}
	return folder, nil
}
