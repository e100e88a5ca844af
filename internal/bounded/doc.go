// Package bounded answers one question: how does a call get a deadline without
// the price of context.WithDeadline?
//
// A context of the standard library that has a deadline makes a timer, enters
// itself into its parent, and leaves it again. A server that bounds every request
// pays that for each, although nearly all end in time and only one place waits: the
// caller of a session, who can wait for a timer of his own as well, one that he uses
// again and again. A Context of this package is such a deadline. Whoever asks for
// its Done gets a real context, made then; who knows the package looks at Parent and
// Deadline and waits for both by himself.
//
// It does not cancel: a Context ends with its parent or by its deadline.
package bounded
