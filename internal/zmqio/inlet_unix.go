//go:build unix && !linux

package zmqio

import "errors"

// Brokers and nodes run on Linux; elsewhere nothing listens in earnest, and no
// connection is watched.
var errNotWatched = errors.New("zmqio: connections are not watched on this system")

func examine(int) (received, cookie uint64, err error) { return 0, 0, errNotWatched }

func localTo(int, string) bool { return false }

func sever(int, uint64) error { return errNotWatched }
