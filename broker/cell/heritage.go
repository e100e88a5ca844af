//go:build linux

package cell

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/limpet-rpc/limpet/session"
)

// A master writes down which nodes it has, for the next one to know for whom it
// has to wait. The file is a hint: without it, or where it is not the last
// master's or not whole, the next one waits for its whole recovery.
//
//	epoch 7
//	node 0123456789abcdef
//	end
const heritageName = "nodes"

// inherit reads what the master of an epoch has left. Not ok: nothing that can
// be relied on.
func (c *Candidate) inherit(from uint64) (nodes []session.NodeID, ok bool) {
	text, err := os.ReadFile(filepath.Join(c.cell.Dir(), heritageName))
	if err != nil || from == 0 {
		return nil, false
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 3 || lines[0] != fmt.Sprint("epoch ", from) || lines[len(lines)-2] != "end" {
		return nil, false
	}
	for _, line := range lines[1 : len(lines)-2] {
		hex, is := strings.CutPrefix(line, "node ")
		id, err := strconv.ParseUint(hex, 16, 64)
		if !is || err != nil {
			return nil, false
		}
		nodes = append(nodes, session.NodeID(id))
	}
	return nodes, true
}

// bequeath writes the file anew, as a whole.
func (c *Candidate) bequeath(epoch uint64, nodes []session.NodeID) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "epoch %d\n", epoch)
	for _, id := range nodes {
		fmt.Fprintf(&b, "node %016x\n", uint64(id))
	}
	b.WriteString("end\n")
	path := filepath.Join(c.cell.Dir(), heritageName)
	if err := os.WriteFile(path+".next", b.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}

// testament is a term's heritage on its way from the broker's loop to the file.
// The latest counts; one that was not written yet is replaced.
type testament chan []session.NodeID

func newTestament() testament { return make(testament, 1) }

func (t testament) put(nodes []session.NodeID) {
	for {
		select {
		case t <- slices.Clone(nodes):
			return
		default:
		}
		select {
		case <-t:
		default:
		}
	}
}

// notary writes down what a term leaves, until the broker is over.
func (c *Candidate) notary(epoch uint64, will testament, over <-chan struct{}) {
	for {
		select {
		case nodes := <-will:
			if now := c.leadsUnder(); now > epoch {
				epoch = now
			}
			if err := c.bequeath(epoch, nodes); err != nil {
				c.log.Warn("the next master will not know which nodes there are", "error", err)
			}
		case <-over:
			return
		}
	}
}
