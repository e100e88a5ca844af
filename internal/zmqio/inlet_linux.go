package zmqio

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var errOtherSocket = errors.New("zmqio: the descriptor belongs to another socket now")

// examine returns how many bytes the kernel has received on a TCP socket, and
// the socket's cookie.
func examine(fd int) (received, cookie uint64, err error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0, err
	}
	cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	return info.Bytes_received, cookie, err
}

// localTo tells whether the socket is one that was accepted at endpoint, and
// not one that has got the descriptor after it.
func localTo(fd int, endpoint string) bool {
	address, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	port := 0
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		port = a.Port
	case *unix.SockaddrInet6:
		port = a.Port
	}
	return strings.HasSuffix(endpoint, ":"+strconv.Itoa(port))
}

// sever ends the connection with that cookie. libzmq sees it end and cleans up.
// The duplicate pins the socket between the comparison and the deed.
func sever(fd int, cookie uint64) error {
	pinned, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pinned)
	_, found, err := examine(pinned)
	switch {
	case err != nil:
		return err
	case found != cookie:
		return errOtherSocket
	}
	return unix.Shutdown(pinned, unix.SHUT_RDWR)
}
