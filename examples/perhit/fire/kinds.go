package fire

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/limpet-rpc/limpet/examples/perhit/front"
)

// kind is one sort of hit: what it asks, and what the only right answer is.
type kind struct {
	name string
	ask  func(n int) (query url.Values, body string) // no body: the script of the kind's name
	// right is empty where the answer to the n-th hit is right, else what is wrong with it.
	right func(n, status int, a front.Answer) string
	fails bool // the right answer is an error
}

var kinds = []kind{
	{
		name: "fib",
		ask:  func(n int) (url.Values, string) { return url.Values{"x": {strconv.Itoa(5 + n%12)}}, "" },
		right: value(func(n int) string {
			a, b := 0, 1
			for range 5 + n%12 {
				a, b = b, a+b
			}
			return strconv.Itoa(a)
		}),
	},
	{
		name: "words",
		ask:  func(n int) (url.Values, string) { return url.Values{"text": {text(n)}}, "" },
		right: value(func(n int) string {
			words := strings.Split(text(n), " ")
			longest := slices.MaxFunc(words, func(a, b string) int { return utf8.RuneCountInString(a) - utf8.RuneCountInString(b) })
			backwards := []rune(text(n))
			slices.Reverse(backwards)
			return fmt.Sprintf("%d words, longest %s, backwards %s", len(words), longest, string(backwards))
		}),
	},
	{
		name: "lists",
		ask: func(n int) (url.Values, string) {
			return url.Values{"n": {strconv.Itoa(100 + n)}, "seed": {strconv.Itoa(n)}}, ""
		},
		right: value(func(n int) string {
			seed, sum := n, 0
			numbers := make([]int, 100+n)
			for i := range numbers {
				seed = (seed*1103515245 + 12345) % (1 << 31)
				numbers[i], sum = seed, sum+seed
			}
			return fmt.Sprintf("%d %d %d %d", len(numbers), slices.Min(numbers), slices.Max(numbers), sum)
		}),
	},
	{
		name:  "fresh",
		ask:   func(n int) (url.Values, string) { return url.Values{"name": {fmt.Sprintf("hit %d", n)}}, "" },
		right: value(func(n int) string { return fmt.Sprintf("only hit %d was here", n) }),
	},
	{
		name: "body",
		ask: func(n int) (url.Values, string) {
			return url.Values{"a": {strconv.Itoa(n)}}, "dict get [dict create square [expr {$a ** 2}] from $hit] square"
		},
		right: value(func(n int) string { return strconv.Itoa(n * n) }),
	},
	{
		name:  "slow",
		ask:   func(int) (url.Values, string) { return url.Values{"ms": {"400"}}, "" },
		right: value(func(int) string { return "waited 400 ms" }),
	},
	{
		name:  "broken",
		ask:   func(n int) (url.Values, string) { return url.Values{"item": {fmt.Sprintf("mussel-%d", n)}}, "" },
		right: failure(func(n int) string { return fmt.Sprintf("no price for mussel-%d", n) }),
		fails: true,
	},
	{
		name:  "endless",
		ask:   func(int) (url.Values, string) { return nil, "" },
		right: failure(func(int) string { return "time limit exceeded" }),
		fails: true,
	},
}

// order is the mix, as indices of kinds: the n-th hit is of the kind at n modulo its length.
var order = []int{0, 1, 2, 5, 3, 4, 0, 1, 2, 6, 0, 3, 1, 5, 2, 0, 4, 7, 1, 0}

// text is a line of words that differs from hit to hit.
func text(n int) string {
	words := strings.Fields("a limpet always returns to its own spot on the rock größer als Ωmega")
	return strings.Join(append(words[n%len(words):], strconv.Itoa(n)), " ")
}

// value is right where the hit succeeded with the value of want.
func value(want func(n int) string) func(n, status int, a front.Answer) string {
	return func(n, status int, a front.Answer) string {
		switch {
		case status != http.StatusOK:
			return fmt.Sprintf("status %d: %q", status, a.Error)
		case a.Result != want(n):
			return fmt.Sprintf("result %q, want %q", a.Result, want(n))
		case a.Calls < 3 || a.PID == 0 || a.Thread == 0 || a.Session == "":
			return fmt.Sprintf("no session, place and at least three calls named: %+v", a)
		}
		return ""
	}
}

// failure is right where the script failed, with the text of want in its words.
func failure(want func(n int) string) func(n, status int, a front.Answer) string {
	return func(n, status int, a front.Answer) string {
		if status != http.StatusUnprocessableEntity || !strings.Contains(a.Error, want(n)) {
			return fmt.Sprintf("status %d, result %q, error %q; want status 422 and %q", status, a.Result, a.Error, want(n))
		}
		return ""
	}
}
