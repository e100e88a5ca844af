// Package sizing answers one question: how many slots should each pool of a node
// have now? It is a pure state machine: Step is told what each pool holds and
// what brokers say waits for it, and returns what to change, and why.
//
//	         the longest has waited GrowAfter,            the total is reached: slots
//	         every slot is held                           that others have left free
//	       +------------------------------+               for 5 x GrowAfter
//	       |                              v             +---------------+
//	between Least ------------------ more slots <-------+ another pool  |
//	and Most                              |             +---------------+
//	       ^                              |
//	       +------------------------------+
//	         fewer were held, and asked for, than there are for ShrinkAfter
//
// What keeps it from flapping: it grows on a wait, never on a load that fits; by
// what waits for this node, at most to twice what there is; once on each word of
// a broker that is newer than the last change, and once in GrowAfter. It shrinks
// to the most that was held, or asked for, in the last ShrinkAfter to twice that,
// and so once in ShrinkAfter at the most.
//
// What it does not do: it changes nothing by itself, knows no slot and no
// session, reads no clock.
package sizing
