// Package client answers one question: how does a program use sessions? It is
// the SDK of the asking side: Dial a broker, Open a session, Call in it, Close
// it; a net/http middleware that keeps a session for one hit; and Broadcast,
// which asks every member of a pool.
//
// The way of a call through a client, and nothing else on it:
//
//	Session.Call -> left for the loop if it is awake (left.go) -> core.Call (under the
//	  client's mutex) -> zmqio.Send
//	zmqio loop -> Client.Envelope -> core.Step -> the waiting goroutine
//
// Opens (opening.go) and Closes go the same way.
//
// One connection per broker and process serves any number of goroutines and
// sessions. One goroutine, the loop, is owned by the Client and waited for by
// Close; whoever calls waits for his reply, and for the end of his context by himself or
// under a watch that he shares with all who have the same one (watch.go, vigil.go).
//
// Who waits for a call is a replyTo (reply.go), what a call has ended with an
// answer (answer.go). Calls come from session.go, from do.go where they have a
// session of their own, and from pending.go where nobody waits; opens that are
// refused are tried again as refusal.go says. An argument too large for one message
// goes in parts (argument.go, feeder.go), and so comes such a reply (incoming.go),
// which stream.go has read as it comes.
//
// What is received lies in memory of the loop's, which is used again. A result is
// copied out of it once: to what its caller gives (AppendCall), to memory of the
// waiter's where it is decoded, or to memory that is its caller's to keep (internal/keep).
//
// A call carries the OpenTelemetry span of its context, and so do the steps that it
// goes on with; with a tracer (span.go) each has a span of its own.
//
// A job (job.go) is many sessions of one call, with a window:
//
//	seq -> feed [-> scatter] -> room in the window -> Do, again while not run
//	  -> ended [-> in order] [-> gather] -> the reader's loop
//
// Feed and a goroutine for each call in the window belong to the loop, which waits
// for them. Hooks (jobhooks.go) are a session of their own, on a pool beside the
// job's: feed scatters in it, the reader's goroutine gathers.
//
// # Calls that go on
//
// A handler may answer with where the work goes on (worker.Next, worker.Fan) in
// the place of a result. The client then walks on, as a browser does with a
// redirect (onward.go, branches.go): every step is a session of one call of its own,
// opened with what is left of the call's deadline, ended by its cancellation, and the
// last answer goes to whoever called; what fails on the way names its step (stage.go). So there is no state of a pipeline that
// could be lost with a broker or a node; every step ends as any call does, once or
// you know; a stage whose queue is full holds up its callers and no one else; and
// steps of jobs that go in circles queue behind those of jobs that have just
// begun, a step of priority a hop, until waiting has made up for it. What it
// costs is a trip to the caller between two stages.
//
//	call -> reply, next{one step}  -> open of that step -> reply: the result
//	call -> reply, next{branches}  -> opens at once, joined by name -> (one step more) -> the result
//
// Gather makes the caller the one who names the branches.
//
// What it does not do: it runs no method, and it never moves a session to
// another worker: a call runs where its session's route says, or it fails.
package client
