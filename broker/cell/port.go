//go:build linux

package cell

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portHolder says who listens at an endpoint, as far as /proc shows it: other
// users' processes it does not.
func portHolder(endpoint string) string {
	inodes := listeners(endpoint)
	if len(inodes) == 0 {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // a pattern that is well-formed
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm") // it may have ended by now
		return fmt.Sprintf(": process %s (%s) listens there", pid, strings.TrimSpace(string(name)))
	}
	return ": a process of another user listens there"
}

// listeners are the sockets that listen at an endpoint, as links in /proc show
// them.
func listeners(endpoint string) map[string]bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil
	}
	if u.Scheme == "ipc" {
		path := strings.TrimPrefix(endpoint, "ipc://")
		return sockets([]string{"/proc/net/unix"}, func(f []string) (string, bool) {
			return f[6], len(f) > 7 && f[7] == path
		})
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return nil
	}
	suffix := fmt.Sprintf(":%04X", port)
	const listening = "0A"
	return sockets([]string{"/proc/net/tcp", "/proc/net/tcp6"}, func(f []string) (string, bool) {
		return f[9], strings.HasSuffix(f[1], suffix) && f[3] == listening
	})
}

// sockets reads the kernel's tables and returns those that match, as
// "socket:[inode]".
func sockets(tables []string, match func(fields []string) (inode string, ok bool)) map[string]bool {
	found := map[string]bool{}
	for _, table := range tables {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 || len(f) > 6 && strings.HasSuffix(table, "unix") {
				if inode, ok := match(f); ok {
					found["socket:["+inode+"]"] = true
				}
			}
		}
	}
	return found
}
