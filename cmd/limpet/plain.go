package main

import (
	"strings"
	"unicode"
)

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
