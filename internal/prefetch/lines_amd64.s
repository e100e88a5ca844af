#include "textflag.h"

// func lines(at, n uintptr)
TEXT ·lines(SB), NOSPLIT, $0-16
	MOVQ at+0(FP), AX
	MOVQ n+8(FP), CX

next:
	PREFETCHT0 (AX)
	ADDQ $64, AX
	DECQ CX
	JNE  next
	RET

// func here() (self, stack uintptr)
TEXT ·here(SB), NOSPLIT, $0-16
	MOVQ (TLS), AX
	MOVQ AX, self+0(FP)
	LEAQ self+0(FP), AX
	MOVQ AX, stack+8(FP)
	RET
