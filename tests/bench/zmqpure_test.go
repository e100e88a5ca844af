package main

import (
	"strings"
	"testing"
)

// A test's own program has no other one beside it.
func TestPureProgramThatIsMissing(t *testing.T) {
	if err := (zmqPure{}).Missing(t.Context()); err == nil || !strings.Contains(err.Error(), "go build -tags limpet_pure_zmq") {
		t.Errorf("%v, want how to build it", err)
	}
	if err := becomePure("load", Setup{}); err == nil {
		t.Error("became a program that is not there")
	}
}
