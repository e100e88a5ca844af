package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writePage writes the Markdown page, and its chart beside it.
func (s *Standing) writePage(file string) error {
	chart := strings.TrimSuffix(file, filepath.Ext(file)) + ".svg"
	if err := os.WriteFile(chart, []byte(s.chart()), 0o644); err != nil {
		return fmt.Errorf("write the chart: %w", err)
	}
	if err := os.WriteFile(file, []byte(s.page(filepath.Base(chart))), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

func (s *Standing) page(chart string) string {
	var b strings.Builder
	c := s.Loads[0]
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench`, which is `limpet-bench peers --repeats %d --window %v --warmup %v --page docs/benchmarks.md`;\n"+
		"`tests/bench/README.md` says how it measures and how to read it. Ratios are formed inside a repetition. Take them, not the absolute figures, which are this machine's:\n\n%v.\n\n",
		c.Repeats, c.Window, c.WarmUp, s.Machine)
	fmt.Fprintf(&b, "%s.\n\n![calls/s](%s)\n\n", upperFirst(s.about()), chart)
	markdown(&b, s.columns(), s.rows())
	fmt.Fprintf(&b, "\n`limpet-once` opens a session for each of its calls, which is carried by the open; `naive` is the ZeroMQ Guide's broker with a table of pins; "+
		"`zmqio-bare` is an echo over Limpet's own transport without its promises. In `limpet-direct-kept` each argument and each result is memory of its own; the other Limpet peers use theirs again "+
		"(`AppendCall`, `worker.Lent`). The nodes of the `-locked` peers have a GOMAXPROCS of four more than their sessions, or 68 where that is less, as programs with `LockThread` should.\n")
	for _, why := range s.Absent {
		fmt.Fprintf(&b, "\nLeft out on this machine: %s.\n", oneLine(why))
	}
	b.WriteString("\n## Floors\n\nWhat Limpet is held to, and where it should be (aim). `limpet-bench peers --check` exits with 3 where one is missed.\n\n")
	var rows [][]string
	for _, v := range s.verdicts() {
		rows = append(rows, []string{v.Floor, v.ratio(), strings.TrimSpace(v.Word + " " + v.remark())})
	}
	markdown(&b, []string{"floor", "measured", ""}, rows)
	return b.String()
}

func markdown(b *strings.Builder, head []string, rows [][]string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
