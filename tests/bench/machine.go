package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"
)

// Machine is where figures were taken, and under which settings.
type Machine struct {
	CPU, Kernel, Go, LibZMQ string
	Cores                   int
	GOMAXPROCS, GOGC        string // as the environment sets them for all Go processes
}

func thisMachine() Machine {
	major, minor, patch := zmq.Version()
	return Machine{
		CPU: cpuModel(), Kernel: kernelRelease(), Go: runtime.Version(), LibZMQ: fmt.Sprintf("%d.%d.%d", major, minor, patch),
		Cores: runtime.NumCPU(), GOMAXPROCS: setting("GOMAXPROCS"), GOGC: setting("GOGC"),
	}
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, libzmq %s, GOGC %s, GOMAXPROCS %s",
		m.CPU, m.Cores, m.Kernel, m.Go, m.LibZMQ, m.GOGC, m.GOMAXPROCS)
}

func setting(name string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return "default"
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // empty where it cannot be read
	for line := range bytes.Lines(b) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return runtime.GOARCH
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
