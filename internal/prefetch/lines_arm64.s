#include "textflag.h"

// func lines(at, n uintptr)
TEXT ·lines(SB), NOSPLIT, $0-16
	MOVD at+0(FP), R0
	MOVD n+8(FP), R1

next:
	PRFM (R0), PLDL1KEEP
	ADD  $64, R0
	SUBS $1, R1
	BNE  next
	RET

// func here() (self, stack uintptr)
TEXT ·here(SB), NOSPLIT, $0-16
	MOVD g, self+0(FP)
	MOVD $self+0(FP), R0
	MOVD R0, stack+8(FP)
	RET
