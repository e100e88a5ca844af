package zmtp

import (
	"errors"
	"fmt"
)

// GreetingSize is the length of what both sides say first.
const GreetingSize = 64

const (
	versionMajor = 3
	versionMinor = 1
)

// Version is what this package speaks.
const Version = "3.1"

// ErrStranger is the far side's greeting where it is none of ZMTP 3.
var ErrStranger = errors.New("zmtp: the far side does not speak ZMTP 3")

// Greeting is what this side says first: its version and the NULL mechanism.
func Greeting() []byte {
	g := make([]byte, GreetingSize)
	g[0], g[9] = 0xff, 0x7f
	g[10], g[11] = versionMajor, versionMinor
	copy(g[12:32], "NULL")
	return g
}

// CheckGreeting judges as much of the far side's greeting as is there: whole
// says that it is complete. A greeting can be wrong at its first byte.
func CheckGreeting(g []byte) (whole bool, err error) {
	switch {
	case len(g) > 0 && g[0] != 0xff, len(g) > 9 && g[9]&1 == 0:
		return false, ErrStranger
	case len(g) > 10 && g[10] < versionMajor:
		return false, fmt.Errorf("%w: it speaks version %d", ErrStranger, g[10])
	case len(g) < GreetingSize:
		return false, nil
	}
	if name := string(g[12:32]); name != "NULL"+string(make([]byte, 16)) {
		return false, fmt.Errorf("%w: it wants the mechanism %q", ErrStranger, trimmed(name))
	}
	return true, nil
}

// trimmed is a name without the zeros that fill it up.
func trimmed(name string) string {
	for i := range len(name) {
		if name[i] == 0 {
			return name[:i]
		}
	}
	return name
}

// AnswersPing reports whether whoever sent this greeting, a whole one, knows PING:
// it came with version 3.1.
func AnswersPing(g []byte) bool { return g[10] > versionMajor || g[11] >= versionMinor }
