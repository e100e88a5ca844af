package zmqio

import "golang.org/x/sys/unix"

// newStream makes a stream socket that neither blocks nor is inherited.
func newStream(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

func acceptStream(fd int) (int, error) {
	accepted, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	return accepted, err
}

// probe lets the kernel find out that the far host is gone, in a minute.
func probe(fd int) {
	for option, seconds := range map[int]int{unix.TCP_KEEPIDLE: 30, unix.TCP_KEEPINTVL: 10, unix.TCP_KEEPCNT: 3} {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, seconds)
	}
}

// waits says that waitFor does something.
const waits = true

// waitFor has the poller tell of input only where there are so many bytes, 0: any. An
// end or an error it tells of always. It reports whether the kernel has taken it.
func waitFor(fd, bytes int) bool {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, max(1, bytes)) == nil
}

// yield lets other threads have the processor, if any waits for it.
func yield() {
	_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) //nolint:dogsled // it never fails
}
