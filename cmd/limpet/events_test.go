package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestEventLines(t *testing.T) {
	stream := ": nothing new\n\n" +
		"event: missed\ndata: {\"missed\":7}\n\n" +
		"id: 8\nevent: node lost\ndata: " +
		"{\"number\":8,\"time\":\"2026-01-02T03:04:05.678Z\",\"what\":\"node lost\",\"name\":\"shell\\u001b[2J\",\"text\":\"no beat for 3s\"}\n\n"
	var out bytes.Buffer
	if err := new(eventsCommand).show(strings.NewReader(stream), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || lines[0] != "(7 events are not kept any more)" || !strings.HasSuffix(lines[1], "node lost         shell?[2J  no beat for 3s") {
		t.Errorf("%q", lines)
	}
	if err := new(eventsCommand).show(strings.NewReader("data: <html>\n"), &out); err == nil {
		t.Error("a page that is no stream of events is taken for one")
	}
}
