package main

import (
	"fmt"
	"strings"
	"unicode"
)

// many is so many of what: 1 session, 2 sessions.
func many(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// plain makes a text that came from elsewhere safe for a terminal: what is not
// printable, escape sequences among it, is shown as a question mark.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
