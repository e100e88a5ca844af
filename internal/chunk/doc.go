// Package chunk answers one question: how do goroutines read and write what
// travels as chunks? A Writer fills blocks and gives them to a core, which keeps
// and sends them; a Reader takes chunks from a core and hands their bytes on.
// Where the core has nothing, or no room, they wait for its bell or for their
// context.
//
//	Write -> block -> give ----> core ~~~> core ----> take -> Read
//	           ^        | full                 | nothing yet
//	           +-- bell +                bell -+
//
// A Block is counted: its Writer has it until it is given, the core from then on
// until it is acknowledged, and each sending of it holds it too.
//
// What it does not do: it knows no credit, no retry and no wire; that is the
// cores'. Large chunks lie in a transport's block from end to end (Block, Received):
// they are filled, sent, received and read without a copy in between.
package chunk
