package heartbeat

import (
	"fmt"
	"time"
)

// Candidate names one run of a candidate's process in its cell; 0 is nobody.
// Where one of several has to act, the lowest does.
type Candidate uint64

// String is the candidate as logs and status show it.
func (c Candidate) String() string { return fmt.Sprintf("%016x", uint64(c)) }

// Holder is who has the lock of a cell, and the epoch that it has claimed. The
// zero value is nobody.
type Holder struct {
	Candidate Candidate
	Epoch     uint64
}

// String is the holder as logs show it.
func (h Holder) String() string { return fmt.Sprintf("%s of epoch %d", h.Candidate, h.Epoch) }

// Note is what candidates tell each other. A vote is not a message of its own:
// it is said with every note for as long as it stands, and one that is not
// repeated lapses.
type Note struct {
	From    Candidate
	Epoch   uint64 // the highest that the sender knows; a master's: its own
	Master  bool
	Accused Holder        // whom the sender has not heard for the limit; zero: nobody
	Unable  bool          // the sender votes, but could not kill it
	Late    time.Duration // by how much the sender's loop was late, at worst, since its last note
}

// Kill asks for the end of a holder's process: where the lock is still that
// holder's, and not after Until.
type Kill struct {
	Holder Holder
	Votes  int // for it, the own one included
	Of     int // candidates that could vote
	Until  time.Time
}

// Doubt asks a master whether the lock is still its own. Where it is and Above
// is not zero, its epoch has to be raised, durably, beyond Above.
type Doubt struct {
	Above uint64
}

// Acts is what one step of an Election asks for. A step that asks for several
// asks in the order of the fields.
type Acts struct {
	Yield string // it is not master any more, and why; empty: that has not changed
	Cast  bool   // tell all others Note
	Note  Note   // where Cast
	Kill  *Kill  // answered by Exited, or by Killed
	Try   bool   // try for the lock without waiting; answered by Took or Held
	Look  bool   // read who has the lock; answered by Held
	Doubt *Doubt // answered by Sure or Lost
	Lead  uint64 // it is master, under this epoch; 0: that has not changed
	Turns []Turn // what happened
}

// Reset empties the acts for the next step.
func (a *Acts) Reset() { *a = Acts{Turns: a.Turns[:0]} }

// Turn is one change, for logs and for whoever listens.
type Turn struct {
	From, To Role
	Holder   Holder // whom it is about
	Votes    int    // against it, where To is Voting or Killing
	Of       int
	Why      string
}
