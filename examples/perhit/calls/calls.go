// Package calls is what a hit and its worker say to each other: the pool, its three
// methods and their messages. It knows neither HTTP nor Tcl.
package calls

// Pool is the pool that the worker serves and that every hit opens its session in.
const Pool = "tcl"

// The methods, in the order in which a hit calls them.
const (
	Set     = "set"     // Variable → Place: gives a variable of the session's interpreter a value
	Eval    = "eval"    // Script → Place: runs a script and keeps its value in the variable ResultName
	Collect = "collect" // Names → Collected: reads variables back
)

// ResultName is the variable in which Eval keeps the value of the script.
const ResultName = "result"

// Variable is the argument of Set.
type Variable struct {
	Name  string `msgpack:"name"`
	Value string `msgpack:"value"`
}

// Script is the argument of Eval.
type Script struct {
	Script string `msgpack:"script"`
}

// Names is the argument of Collect: the variables to read. No name means ResultName.
type Names struct {
	Names []string `msgpack:"names"`
}

// Place is where a call ran.
type Place struct {
	PID    int `msgpack:"pid" json:"pid"`
	Thread int `msgpack:"thread" json:"thread"` // of the operating system
}

// Collected is the reply of Collect.
type Collected struct {
	Values map[string]string `msgpack:"values"`
	Place  Place             `msgpack:"place"`
	Calls  int               `msgpack:"calls"` // in this session so far, this one included
}
