package zmqio

import (
	"fmt"

	zmq "github.com/pebbe/zmq4"
)

// What this package asks of libzmq: ZMTP heartbeats and connect timeouts came
// with 4.2, and CURVE is a build option that distributions do switch on.
const (
	neededMajor = 4
	neededMinor = 2
)

const howToInstall = "install it with one of:\n" +
	"  apt install libzmq5 libzmq3-dev\n" +
	"  dnf install zeromq zeromq-devel\n" +
	"  apk add libzmq zeromq-dev\n" +
	"  pacman -S zeromq"

// CheckLibrary returns the version of the libzmq that this process runs with,
// and an error that says what to install if it is too old, was swapped for one
// that the program was not built for, or lacks CURVE.
func CheckLibrary() (version string, err error) {
	major, minor, patch := zmq.Version()
	return judgeLibrary(major, minor, patch, zmq.HasCurve())
}

// HasCurve reports whether the installed libzmq can encrypt.
func HasCurve() bool { return zmq.HasCurve() }

func judgeLibrary(major, minor, patch int, curve bool) (string, error) {
	version := fmt.Sprintf("%d.%d.%d", major, minor, patch)
	needed := fmt.Sprintf("libzmq %d.%d or later of the %d series, with CURVE", neededMajor, neededMinor, neededMajor)
	switch {
	case major == 0:
		return "", fmt.Errorf("zmqio: the installed libzmq is not the one that this program was built with; rebuild the program, or %s\nneeded: %s",
			howToInstall, needed)
	case major != neededMajor || minor < neededMinor:
		return version, fmt.Errorf("zmqio: libzmq %s is installed, needed is %s; %s", version, needed, howToInstall)
	case !curve:
		return version, fmt.Errorf("zmqio: libzmq %s is installed but was built without CURVE, needed is %s; %s", version, needed, howToInstall)
	}
	return version, nil
}
