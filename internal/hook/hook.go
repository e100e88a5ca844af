// Package hook answers one question: what do a job and the hooks of its pool
// say to each other? The hooks are a session on a pool of their own, beside the
// job's; these are the arguments and results of its methods.
//
//	hooks:   nothing          -> Has
//	scatter: Item, then more  -> Page, ... until one that says there is no more
//	gather:  Results, then more -> Page, ...
//	end:     nothing, then more -> Page, ...
//
// What it does not do: it knows neither side, and it is no part of the wire
// protocol: to brokers and nodes these are calls as all others.
package hook

// Suffix makes the hooks' pool of a pool's name.
const Suffix = "/hooks"

// The methods of that pool.
const (
	Hooks   = "hooks"
	Scatter = "scatter"
	Gather  = "gather"
	End     = "end"
)

// What a page and a Results hold at most, beyond one value that is larger.
const (
	Most  = 256       // values
	Bytes = 256 << 10 // of all of them
)

// Has says which hooks there are.
type Has struct {
	Scatter bool `json:"scatter"`
	Gather  bool `json:"gather"`
	End     bool `json:"end"`
}

// Item is what scatter takes; or, with More set and nothing else, what has the
// last call go on where its page ended.
type Item struct {
	More  bool   `json:"more,omitempty"`
	Index int    `json:"index,omitempty"`
	Raw   bool   `json:"raw,omitempty"`
	Body  []byte `json:"body,omitempty"`
}

// Results are what gather and end take; More as for Item.
type Results struct {
	More bool     `json:"more,omitempty"`
	List []Result `json:"list,omitempty"`
}

// Result is one result of the job.
type Result struct {
	Index int    `json:"index"`
	Part  int    `json:"part,omitempty"`
	Raw   bool   `json:"raw,omitempty"`
	Body  []byte `json:"body"`
}

// Page is a part of what a hook has made.
type Page struct {
	Outs []Out `json:"outs,omitempty"`
	More bool  `json:"more,omitempty"`
}

// Out is one value that a hook has made, or the error that it ended with.
type Out struct {
	Of   int    `json:"of,omitempty"` // which of the Results it is for
	Raw  bool   `json:"raw,omitempty"`
	Body []byte `json:"body,omitempty"`
	Fail string `json:"fail,omitempty"`
}
