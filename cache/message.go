package cache

// suffix makes the cache's pool of a pool's name.
const suffix = "/cache"

// The methods of that pool. All take an ask and give an answer.
const (
	methodGet    = "get"
	methodSet    = "set"
	methodSwap   = "swap"
	methodDelete = "delete"
	methodStats  = "stats"
)

// ask is the argument of every method.
type ask struct {
	Scope   string `json:"scope,omitempty"`
	Key     string `json:"key,omitempty"`
	Value   []byte `json:"value,omitempty"`
	Millis  int64  `json:"ms,omitempty"` // to live, 0: no end
	Version uint64 `json:"version,omitempty"`
}

// verdict is how an operation went. Numbers are never used again for something else.
type verdict uint8

const (
	done     verdict = iota
	missing          // there is no such entry
	conflict         // the entry has another version
	tooLarge         // Limit says what is allowed
	badKey
)

// answer is the result of every method.
type answer struct {
	Verdict verdict `json:"verdict,omitempty"`
	Value   []byte  `json:"value,omitempty"`
	Version uint64  `json:"version,omitempty"`
	Limit   int     `json:"limit,omitempty"`
	Stats   *Stats  `json:"stats,omitempty"`
}

// Stats is what a cache holds.
type Stats struct {
	Host    string `json:"host"` // the node's id; another one is another cache
	Entries int    `json:"entries"`
	Bytes   uint64 `json:"bytes"` // of keys and values, with 64 for each entry
	Limit   uint64 `json:"limit"`
}
