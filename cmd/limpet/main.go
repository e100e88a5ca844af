// Command limpet runs a broker, and talks to one from a shell.
//
// Its files parse flags, start what they name, and print; what it starts lives
// in the packages broker, broker/admin and client.
//
// Commands and flags are cobra's (github.com/spf13/cobra, Apache-2.0): kept up
// by the authors of kubectl's and gh's command lines, two small dependencies,
// and help, suggestions and shell completion come with it. What it lacks, the
// environment variables, is one function here (environment.go).
package main

import "os"

func main() { os.Exit(run(os.Args[1:])) }
