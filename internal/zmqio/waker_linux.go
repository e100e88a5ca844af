package zmqio

import "golang.org/x/sys/unix"

func (w *waker) open() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	w.read, w.write = fd, fd
	return err
}
