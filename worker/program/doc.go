// Package program answers one question: how does any program serve a session?
// Its pool gives every session a child process of its own, and makes the
// session's calls requests to it: JSON-RPC 2.0, one message a line, over the
// child's stdin and stdout. So an interpreter, a language server, a script
// becomes a pinned, isolated worker that can be killed, without an SDK.
//
//	Open:  started -> (first line, or settled) -> open
//	call:  request -> (notifications: progress)* -> result, or error
//	Close: stdin closed -(grace)-> SIGTERM -(grace)-> SIGKILL -> gone
//
// A call's argument becomes params as package jsontext says: a list or map as
// it is, nil as none, any other value as a list of that one. Bytes are
// {"bytes": base64}. The result comes back the same way; an error object is the
// method's own error. When a call's context ends, the child gets the
// notification "$/cancelRequest" with the request's id, as language servers
// know it; where it does not answer the request within the grace it is killed.
// A notification from the child becomes the call's progress: the params of
// "progress", of any other {"method", "params"}. A request from the child is
// answered by an error, -32601. With Config.Traceparent the request of a traced
// call has one more member, "traceparent", as HTTP's header.
//
// A call goes on elsewhere, as with worker.Next and worker.Fan, where the child
// sends the notification "$/next" before it answers: the result that it answers
// with is dropped, an error ends the call as ever. Of several the last counts.
// Its params are a place, or branches and perhaps where they meet:
//
//	{"pool": "square", "method": "run", "arg": [1, 2]}
//	{"branches": [{"name": "left", "pool": "a", "method": "m", "arg": 1}, ...], "join": {"pool": "b", "method": "n"}}
//
// An arg is any JSON value, and becomes the argument as it is; none is nil. What
// is wrong with them is the method's own error.
//
// A child that ends while its session is open, or breaks the rules, ends its
// session with session.ErrWorkerDied, whose text says how: the exit status, the
// rule, and the last lines of its stderr. What breaks the rules is a line that
// is no JSON-RPC 2.0 message, one longer than the limit, a batch, an answer to a
// call that does not run, the end of stdout, more requests than it reads
// answers to. It is killed at once: what it would answer next cannot be trusted.
//
// Goroutines and their owners: a child has four, which write its stdin, read
// its stdout, read its stderr, and see to its end; the last waits for the
// others, and Close waits for it.
//
// What it does not do: it restarts no child, a session's state is gone with it.
// A child's process group goes with it, and the child itself with this process;
// what leaves the group (setsid) is not followed, see package childproc.
package program
