// Package chaos answers one question: are the promises kept where processes
// are killed and connections break for real?
//
// Everything runs on loopback in processes of its own: the test binary starts
// itself again as a broker, a node or a client (process_test.go), and ends
// those by their process id. Connections run through toxiproxy, which cuts and
// resets them (proxy_test.go). `go test` runs the short forms;
// `go test -soak`, or LIMPET_SOAK=1, the long ones.
//
// What it does not do: it does not look for the schedule that breaks a state
// machine; internal/sim does, with seeds that can be repeated. Here time is
// real, and no two runs are the same.
package chaos
