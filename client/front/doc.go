// Package front answers one question: how is HTTP served by pools? A Front is a
// net/http handler: each route leads to a method of a pool, made as a session of
// one call (which may go on as a pipeline), or as a call in a session that is kept
// for a user.
//
//	request -> route -> argument -> call, under the route's deadline -> result
//	                 \-> 400, 413    \-> 502, 503, 504, 508, or the route's fallback
//
// Routes come from Go, or from a TOML file (ReadRoutes), whose mistakes are told by
// line and key. TOML is read by github.com/pelletier/go-toml/v2 (MIT, no
// dependencies), which knows both; net/http does the HTTP: keep-alive, pipelining in
// order, chunked bodies, and patterns, which are those of http.ServeMux.
//
// # The argument
//
//	params      a map of the path's wildcards and the query's parameters, as strings; one that is given
//	            several times is a list; a wildcard counts before a parameter of its name
//	param NAME  the text of that one, as bytes
//	json        the body, read as JSON; an empty one is nil
//	raw         the body, as bytes
//	all         a map: params as above, body as in raw, type its Content-Type
//	none        nil
//
// Without a word it is json for POST, PUT and PATCH and else params. Need names
// parameters that must be there, with what they must match: what does not is 400, at once.
//
// # The answer
//
// A result that is bytes is written as it is (application/octet-stream unless the
// route has a type), any other as JSON. What fails is said by a status, the headers
// Limpet-Code and Limpet-Outcome ("done", "not run", "unknown outcome"), and a JSON body
// with error, code and outcome:
//
//	400  the argument is not what the route or the handler wants (session.ErrBadArgument)
//	404, 405  no route
//	408  the body did not come within the deadline
//	410  the session that the request names is over, and the route does not begin a new one
//	413  larger than the route's size, or than a message may be
//	500  the method's own error, or a panic
//	502  the worker died and the call may have run; the pool has no such method, or could not open a session
//	503  nobody took it: no worker in time, a full queue, no broker. With Retry-After where it was not run
//	504  the deadline passed, or the handler hangs
//	508  the hop limit
//
// A request's traceparent (trace.go) becomes its call's.
//
// 502, 503 and 504 give way to the route's fallback, where it has one. A call that was
// certainly not run because its worker was lost is made again by itself while there
// is time, on an idempotent route also one that may have run. A client that goes
// away cancels its call, at most 40 ms later.
//
// With Accept: text/event-stream, or a route that says events, the answer is a
// stream of server-sent events: progress for each value of worker.Progress, then
// result or error. What fails before the first of them has its own status.
//
// # Sessions
//
// A route with a session makes its calls in a session of its user's, found by a
// cookie or header: 128 random bits that the front draws; it takes none that it has not
// given out. They are kept in a table of bounded size, and end by their idle limit,
// which the worker keeps. Wait and priority of a route are those of the session
// that it begins; labels are the session's own. One that is over is begun anew, which the header Limpet-Session: new
// tells, or is 410, as the rule says.
//
// # Kept sessions
//
// A session for each request is two messages to the broker and two from it, which is
// most of the cost where a method takes microseconds. A route that keeps sessions
// (keep) opens as many as it has requests at once, up to that number, and makes its
// calls in them by the direct path, one at a time in each, or, with ahead, up to so
// many at once that run one behind the other; as few sessions as will do. After 100 ms a session is closed and another one opened, and
// without a call after 50 ms: whoever else waits for a slot of the pool gets it then,
// for the open queues with the lowest priority. It is for methods that keep nothing
// between calls and are about as long as each other: those that wait for a kept
// session wait in the front, first come, first served.
//
// What it does not do: TLS, authentication, static files, and no state beside the
// table of sessions: a front may be killed, and there may be several of them, if a
// user's requests come to the same one where there are sessions.
package front
