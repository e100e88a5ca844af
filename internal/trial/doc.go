// Package trial answers one question: how does a test of a whole program get the
// processes that it talks to? Tests alone use it.
//
// The test binary is the program as well: TestMain finds out by the environment
// whether it is to be one, and then calls Program; a test starts it once more with
// Begin. A Site is what stands around workers that are asked over HTTP.
//
//	test: Begin(t, "ROLE=worker") -> process: TestMain -> Program(serve) -> SIGTERM -> exit
//	test: NewSite -> Serve(t, "ROLE=worker"): begun, and known to the broker -> GET Site.URL
//
// Whatever is started here ends with the test that started it.
//
// What it does not do: it checks nothing but that what it starts does start.
package trial
