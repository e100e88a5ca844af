package session

import "fmt"

// Fate is what became of one member of a broadcast. Every member ends as
// exactly one of them.
type Fate uint8

// The fates. Only Answered and Failed say for certain that the method ran.
const (
	FateOpen     Fate = iota // not settled yet
	FateAnswered             // the method returned a value
	FateFailed               // its own error, a panic, or the node refused: the code says which
	FateDied                 // its process is dead, or its connection broke and did not come back
	FateHung                 // its node has stopped beating, or its call made no progress for its budget
	FateLeft                 // it was drained, left, or the session had ended
	FateDeadline             // the time of the broadcast was over first
	FateBusy                 // its session was at another call, for longer than was to be waited
)

// FateLast is the highest.
const FateLast = FateBusy

var fateNames = [...]string{"open", "answered", "failed", "died", "hung", "left", "deadline", "busy"}

// String is the fate's name, as it is shown.
func (f Fate) String() string {
	if int(f) < len(fateNames) {
		return fateNames[f]
	}
	return fmt.Sprintf("fate %d", uint8(f))
}

// MemberID names one member of a broadcast: a node, or a session on it.
type MemberID struct {
	Node    NodeID
	Session ID // zero: the node itself
}
