package tcl

/*
#include <tcl.h>

#if TCL_MAJOR_VERSION < 9 && !defined(TCL_SIZE_MAX)
typedef int Tcl_Size;
#endif

// How many interpreters live on this thread: the last one to be closed takes the
// thread's own share of Tcl with it.
static __thread int onThread;

static Tcl_Interp *perhitNew(void) {
	Tcl_Interp *ip = Tcl_CreateInterp();
	if (ip == NULL) return NULL;
	// A child interpreter could lift its own limits, so there are none to be had.
	if (Tcl_MakeSafe(ip) != TCL_OK || Tcl_HideCommand(ip, "interp", "interp") != TCL_OK) {
		Tcl_DeleteInterp(ip);
		return NULL;
	}
	onThread++;
	return ip;
}

static void perhitClose(Tcl_Interp *ip) {
	Tcl_DeleteInterp(ip);
	if (--onThread == 0) Tcl_FinalizeThread();
}

// Libtcl looks at the thread only when an interpreter is deleted; a debug build of it
// looks at every object. This is the debug build's check, once a call.
static void perhitOwn(Tcl_ThreadId owner) {
	if (Tcl_GetCurrentThread() != owner) {
		Tcl_Panic("Tcl interpreter used on another thread than the one that made it");
	}
}

static Tcl_Obj *held(const char *s, Tcl_Size n) {
	Tcl_Obj *o = Tcl_NewStringObj(s, n);
	Tcl_IncrRefCount(o);
	return o;
}

static int perhitEval(Tcl_Interp *ip, const char *s, Tcl_Size n) {
	Tcl_Obj *script = held(s, n);
	int code = Tcl_EvalObjEx(ip, script, TCL_EVAL_GLOBAL);
	Tcl_DecrRefCount(script);
	return code;
}

static int perhitSet(Tcl_Interp *ip, const char *name, Tcl_Size nn, const char *value, Tcl_Size vn) {
	Tcl_Obj *n = held(name, nn), *v = held(value, vn);
	Tcl_Obj *was = Tcl_ObjSetVar2(ip, n, NULL, v, TCL_GLOBAL_ONLY | TCL_LEAVE_ERR_MSG);
	Tcl_DecrRefCount(n);
	Tcl_DecrRefCount(v);
	return was == NULL ? TCL_ERROR : TCL_OK;
}

// The value is left as the interpreter's result: a read trace may replace the variable.
static int perhitGet(Tcl_Interp *ip, const char *name, Tcl_Size nn) {
	Tcl_Obj *n = held(name, nn);
	Tcl_Obj *v = Tcl_ObjGetVar2(ip, n, NULL, TCL_GLOBAL_ONLY | TCL_LEAVE_ERR_MSG);
	if (v != NULL) Tcl_SetObjResult(ip, v);
	Tcl_DecrRefCount(n);
	return v == NULL ? TCL_ERROR : TCL_OK;
}

// The stack trace of the error that code stands for; NULL where Tcl kept none.
static Tcl_Obj *perhitErrorInfo(Tcl_Interp *ip, int code) {
	Tcl_Obj *options = Tcl_GetReturnOptions(ip, code), *key = held("-errorinfo", -1), *info = NULL;
	Tcl_IncrRefCount(options);
	if (Tcl_DictObjGet(NULL, options, key, &info) != TCL_OK) info = NULL;
	if (info != NULL) Tcl_IncrRefCount(info);
	Tcl_DecrRefCount(key);
	Tcl_DecrRefCount(options);
	return info;
}

static void release(Tcl_Obj *o) { Tcl_DecrRefCount(o); }

// Forgets the result and the error of what ran before, and sets the clock.
static void perhitStart(Tcl_Interp *ip, long long micros) {
	Tcl_Time t;
	Tcl_ResetResult(ip);
	Tcl_GetTime(&t);
	micros += t.usec;
	t.sec += micros / 1000000;
	t.usec = micros % 1000000;
	Tcl_LimitSetTime(ip, &t); // also forgets that an earlier deadline has passed
	Tcl_LimitTypeSet(ip, TCL_LIMIT_TIME);
}

static void perhitCommands(Tcl_Interp *ip, int n) {
	Tcl_LimitSetCommands(ip, n);
	Tcl_LimitTypeSet(ip, TCL_LIMIT_COMMANDS);
}
*/
import "C"

import (
	"errors"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// DefaultTime is how long one SetVar, Eval or GetVar may take unless LimitTime says otherwise.
const DefaultTime = 2 * time.Second

// ErrLimit is what errors.Is finds in the error of a script that was ended by its
// time or command limit.
var ErrLimit = errors.New("limit exceeded")

// Error is what a script ended with.
type Error struct {
	Message string // the script's own words
	Info    string // Tcl's errorInfo: the message and where it came from; may be empty
	Limit   bool   // ended by LimitTime or LimitCommands
}

// Error is Tcl's errorInfo, or the message where there is none.
func (e *Error) Error() string {
	if e.Info == "" {
		return e.Message
	}
	return e.Info
}

// Is makes errors.Is(err, ErrLimit) true for a script that ran into a limit.
func (e *Error) Is(target error) bool { return target == ErrLimit && e.Limit }

// Interp is a safe Tcl interpreter. All of its methods must be called on the OS
// thread that called New; from another one libtcl aborts the process.
type Interp struct {
	ptr   *C.Tcl_Interp
	owner C.Tcl_ThreadId
	time  time.Duration
}

var initialize = sync.OnceFunc(func() { C.Tcl_FindExecutable(nil) })

// New makes an empty interpreter that belongs to the calling OS thread from now on.
// The caller must have locked its goroutine to that thread. It returns nil where
// libtcl cannot make a safe interpreter.
func New() *Interp {
	initialize()
	ptr := C.perhitNew()
	if ptr == nil {
		return nil
	}
	return &Interp{ptr: ptr, owner: C.Tcl_GetCurrentThread(), time: DefaultTime}
}

// LimitTime bounds every later SetVar, Eval and GetVar to d each, at least a microsecond.
func (i *Interp) LimitTime(d time.Duration) { i.time = max(d, time.Microsecond) }

// LimitCommands bounds how many Tcl commands the interpreter runs in its whole
// life. Past it every script ends with ErrLimit.
func (i *Interp) LimitCommands(n int32) { C.perhitCommands(i.ptr, C.int(n)) }

// Eval runs script at global level and returns its value. It blocks until the
// script ends, at most for the limits. Its errors are of type *Error.
func (i *Interp) Eval(script string) (string, error) {
	i.arm()
	s, n := internal(script)
	return i.result(C.perhitEval(i.ptr, s, n))
}

// SetVar gives a global variable, or an array element as in "a(b)", a value. It may
// block as long as Eval, since a script may have left a trace on the variable.
func (i *Interp) SetVar(name, value string) error {
	i.arm()
	n, nn := internal(name)
	v, vn := internal(value)
	_, err := i.result(C.perhitSet(i.ptr, n, nn, v, vn))
	return err
}

// GetVar is the value of a global variable or array element. It may block as long as
// Eval, and fails for a variable that does not exist.
func (i *Interp) GetVar(name string) (string, error) {
	i.arm()
	n, nn := internal(name)
	return i.result(C.perhitGet(i.ptr, n, nn))
}

// Close deletes the interpreter, and with the thread's last one what libtcl keeps
// for the thread. A second Close does nothing.
func (i *Interp) Close() {
	if i.ptr == nil {
		return
	}
	C.perhitClose(i.ptr)
	i.ptr = nil
}

// arm starts one SetVar, Eval or GetVar: it aborts on a foreign thread, and starts
// the clock.
func (i *Interp) arm() {
	C.perhitOwn(i.owner)
	C.perhitStart(i.ptr, C.longlong(i.time.Microseconds()))
}

// result takes what the interpreter holds as its result, or as its error.
func (i *Interp) result(code C.int) (string, error) {
	text := external(C.Tcl_GetObjResult(i.ptr))
	if code == C.TCL_OK {
		return text, nil
	}
	err := &Error{Message: text, Limit: C.Tcl_LimitExceeded(i.ptr) != 0}
	if info := C.perhitErrorInfo(i.ptr, code); info != nil {
		err.Info = external(info)
		C.release(info)
	}
	return "", err
}

// internal lends s to libtcl for one call. Inside Tcl a NUL is the bytes C0 80.
func internal(s string) (*C.char, C.Tcl_Size) {
	s = strings.ReplaceAll(s, "\x00", "\xc0\x80")
	return (*C.char)(unsafe.Pointer(unsafe.StringData(s))), C.Tcl_Size(len(s))
}

// external copies what libtcl lends.
func external(o *C.Tcl_Obj) string {
	var n C.Tcl_Size
	s := C.Tcl_GetStringFromObj(o, &n)
	return strings.ReplaceAll(string(unsafe.Slice((*byte)(unsafe.Pointer(s)), n)), "\xc0\x80", "\x00")
}
