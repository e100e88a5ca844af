package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of CPU time in /proc, USER_HZ: 100 a second on every
// Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTime is the user and system time that a process has used so far, all its
// threads included, ended ones too. Its resolution is clockTick.
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return parseCPUTime(b)
}

// parseCPUTime reads fields 14 and 15 of proc_pid_stat(5). The name in field 2
// may hold anything, so fields are counted from the last parenthesis.
func parseCPUTime(stat []byte) (time.Duration, error) {
	_, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("read CPU time: %d fields in %q", len(fields), stat)
	}
	var sum time.Duration
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		sum += time.Duration(ticks) * clockTick
	}
	return sum, nil
}

// residentBytes is the resident memory of a process, pages shared with others
// included.
func residentBytes(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read resident memory: %w", err)
	}
	return parseResident(b)
}

// parseResident reads the Rss line of smaps_rollup, which is exact; the counters
// of statm lag behind by up to a few dozen pages a thread.
func parseResident(rollup []byte) (int64, error) {
	for line := range bytes.Lines(rollup) {
		value, ok := bytes.CutPrefix(line, []byte("Rss:"))
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read resident memory: %w", err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("read resident memory: no Rss line in %q", rollup)
}

// sharedClock is a time that processes of one machine agree on and that no
// clock adjustment moves.
func sharedClock() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // the clock exists on every Linux
	}
	return time.Duration(t.Nano())
}
