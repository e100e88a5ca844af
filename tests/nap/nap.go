// Package nap answers one question: what does a call that hangs inside C look
// like? It is for the tests of hung calls. It does nothing else.
package nap

// #include <unistd.h>
//
// static void limpet_nap(unsigned seconds) { while (seconds > 0) seconds = sleep(seconds); }
import "C"

// InC sleeps in C, where Go cannot interrupt it.
func InC(seconds uint) { C.limpet_nap(C.uint(seconds)) }
