package zmqio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// address is where a socket listens or connects to, as the kernel wants it.
type address struct {
	family int
	at     unix.Sockaddr
}

// located returns the address of an endpoint that names it by numbers, or a path.
// A name has to be resolved: found is false then.
func located(endpoint string, listening bool) (a address, found bool) {
	transport, rest, _ := strings.Cut(endpoint, "://")
	if transport == "ipc" {
		return address{unix.AF_UNIX, &unix.SockaddrUnix{Name: rest}}, true
	}
	host, port := hostPort(rest)
	if listening && host == "*" {
		host = "0.0.0.0"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return address{}, false
	}
	return numbered(ip, port), true
}

// hostPort splits an address that checkEndpoint has found good; any port is 0.
func hostPort(s string) (host string, port int) {
	host, number, _ := net.SplitHostPort(s)
	port, _ = strconv.Atoi(number)
	return host, port
}

func numbered(ip netip.Addr, port int) address {
	if ip.Is4() || ip.Is4In6() {
		return address{unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: ip.Unmap().As4()}}
	}
	at := &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
	if zone := ip.Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			at.ZoneId = uint32(i.Index)
		}
	}
	return address{unix.AF_INET6, at}
}

// resolve is located for endpoints that name a host: it asks the system, and may
// take as long as that. IPv6 is for those who write an address in brackets: with
// it localhost may mean ::1 alone.
func resolve(ctx context.Context, endpoint string, listening bool) (address, error) {
	if a, found := located(endpoint, listening); found {
		return a, nil
	}
	_, rest, _ := strings.Cut(endpoint, "://")
	host, port := hostPort(rest)
	if listening {
		if ip, found := ofInterface(host); found {
			return numbered(ip, port), nil
		}
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return address{}, err
	}
	if len(ips) == 0 {
		return address{}, fmt.Errorf("host %q has no IPv4 address", host)
	}
	return numbered(ips[0], port), nil
}

// ofInterface is the first IPv4 address of the network interface of that name.
func ofInterface(name string) (netip.Addr, bool) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, false
	}
	addresses, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// backlog is how many connections may wait to be accepted: all clients come back at
// the same moment after a restart.
const backlog = 4096

// bind makes a descriptor that listens, and spells where.
func bind(a address, endpoint string) (fd int, actual string, err error) {
	if err := sweep(a); err != nil {
		return -1, "", err
	}
	fd, err = newStream(a.family)
	if err != nil {
		return -1, "", err
	}
	if a.family != unix.AF_UNIX {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, a.at)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err == nil {
		actual, err = endpointOf(fd, endpoint)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, "", err
	}
	return fd, actual, nil
}

// endpointOf spells where a bound socket listens.
func endpointOf(fd int, asked string) (string, error) {
	at, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	switch a := at.(type) {
	case *unix.SockaddrInet4:
		return "tcp://" + netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String(), nil
	case *unix.SockaddrInet6:
		return "tcp://" + netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String(), nil
	}
	return asked, nil
}

// sweep removes the file of a unix socket that nobody listens on any more. Any other
// file is in use: to connect to it is refused in the same way.
func sweep(a address) error {
	at, ok := a.at.(*unix.SockaddrUnix)
	if !ok || strings.HasPrefix(at.Name, "@") {
		return nil
	}
	fd, err := newStream(unix.AF_UNIX)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, at); {
	case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINPROGRESS):
		return unix.EADDRINUSE
	case errors.Is(err, unix.ECONNREFUSED):
		if info, err := os.Lstat(at.Name); err == nil && info.Mode().Type() != os.ModeSocket {
			return unix.EADDRINUSE
		}
		return os.Remove(at.Name)
	}
	return nil
}

// toItself reports that a connection has both ends in one: TCP may do that to
// whoever connects, from a port that it was lent, to that very port.
func toItself(fd int) bool {
	near, errNear := unix.Getsockname(fd)
	far, errFar := unix.Getpeername(fd)
	if errNear != nil || errFar != nil {
		return false
	}
	switch n := near.(type) {
	case *unix.SockaddrInet4:
		f, ok := far.(*unix.SockaddrInet4)
		return ok && *n == *f
	case *unix.SockaddrInet6:
		f, ok := far.(*unix.SockaddrInet6)
		return ok && n.Port == f.Port && n.Addr == f.Addr
	}
	return false
}
