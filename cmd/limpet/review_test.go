package main

import (
	"io"
	"os"
	"testing"
	"time"
)

// A job that cannot write ends, whoever still holds its stdin open.
func TestReviewJobFullDisk(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	cmd := as(t.Context(), "limpet", "job", "lab", "add")
	cmd.Env = append(cmd.Env, "LIMPET_BROKER="+c.broker)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = full
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(stdin, "1\n")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Log(err)
	case <-time.After(5 * time.Second):
		t.Error("5 s after it could not write it still waits for its stdin")
		stdin.Close()
		<-ended
	}
}
