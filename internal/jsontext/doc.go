// Package jsontext answers one question: how does a value that travels as
// MessagePack read as JSON, and the other way round?
//
// Integers of 64 bits stay what they are, a float is written so that it reads
// as one again (3.0, not 3), and a number that fits neither is an error. What
// JSON lacks becomes: bytes {"bytes": base64}, a time its RFC 3339 text,
// another extension {"ext": type, "bytes": base64}, NaN and the infinities
// strings, a key that is no string the text of its JSON.
//
// What it does not do: it guesses nothing back. A string stays a string, and
// {"bytes": base64} from JSON is a map.
package jsontext
