// Package tests holds the tests that run across sockets and processes: end to
// end, faults, foreign clients, bad input. It has no code of its own to use.
package tests
