package admin

import "github.com/limpet-rpc/limpet/broker/core"

// Celled is a Broker that is the master of a cell.
type Celled interface{ Cell() Cell }

// Page is what /v1/status shows.
type Page struct {
	core.Status

	Cell *Cell `json:"cell,omitempty"` // of a master that was elected
}

// Cell is an election as its master sees it. Times are in seconds.
type Cell struct {
	Dir        string      `json:"dir"`
	ID         string      `json:"id"`
	Self       string      `json:"self"` // the candidate that answers
	Role       string      `json:"role"`
	Epoch      uint64      `json:"epoch"`
	Limit      float64     `json:"limit_seconds"` // for how long a master may be silent
	PairKills  bool        `json:"pair_kills"`
	Votes      int         `json:"votes"` // against the master
	Voters     int         `json:"voters"`
	Candidates []Candidate `json:"candidates"`
	Elections  []Election  `json:"elections"` // the latest changes, oldest first
}

// Candidate is one process of a cell.
type Candidate struct {
	ID      string `json:"id"`
	PID     int    `json:"pid"`
	Program string `json:"program"`
	Master  bool   `json:"master"`
}

// Election is one change of the role of the candidate that answers.
type Election struct {
	Ago    float64 `json:"ago_seconds"`
	From   string  `json:"from"`
	To     string  `json:"to"`
	About  string  `json:"about"` // the holder of the lock that it concerns
	PID    int     `json:"pid"`
	Votes  int     `json:"votes"`
	Voters int     `json:"voters"`
	Why    string  `json:"why"`
}
