package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// profileDir, where it is set, is a folder in which every role process leaves
// its CPU profile.
const profileDir = "LIMPET_BENCH_PROFILE"

// orderProfiles has the processes that are started from now on leave their profiles
// in dir, until stop is called, which removes it.
func orderProfiles() (dir string, stop func(), err error) {
	if dir, err = os.MkdirTemp("", "limpet-bench-"); err != nil {
		return "", nil, fmt.Errorf("profile: %w", err)
	}
	before, set := os.LookupEnv(profileDir)
	if err := os.Setenv(profileDir, dir); err != nil {
		return "", nil, fmt.Errorf("profile: %w", err)
	}
	return dir, func() {
		_ = os.Unsetenv(profileDir) // neither fails for a name that could be set
		if set {
			_ = os.Setenv(profileDir, before)
		}
		_ = os.RemoveAll(dir) // a folder of temporary files
	}, nil
}

// startProfile profiles a role process to its end, if profileDir asks for it.
func startProfile(role string) (stop func(), err error) {
	dir := os.Getenv(profileDir)
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pprof", filepath.Base(role), os.Getpid())))
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // a profile that is cut short shows itself
	}, nil
}
