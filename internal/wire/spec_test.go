package wire

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// specification is docs/protocol.md.
func specification(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// table returns the rows of the first table behind the text after, its head
// left out; a second text is how that table begins.
func table(t *testing.T, after ...string) [][]string {
	t.Helper()
	rest := specification(t)
	for i, text := range after {
		_, behind, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("docs/protocol.md has no %q", text)
		}
		rest = behind
		if i > 0 { // the text is the table's own head
			rest = text + rest
		}
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if len(rows) > 0 {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("docs/protocol.md has no table behind %q", after)
	}
	return rows[2:]
}

func TestSpecificationListsEveryKind(t *testing.T) {
	rows := table(t, "\n## Kinds\n")
	kinds := Kinds()
	if len(rows) != len(kinds) {
		t.Fatalf("%d kinds listed, there are %d", len(rows), len(kinds))
	}
	for i, k := range kinds {
		form, to := "session", rows[i][3]
		if New(k) != nil {
			form = "control"
		}
		if rows[i][0] != fmt.Sprint(uint8(k)) || rows[i][1] != k.String() || rows[i][4] != form {
			t.Errorf("listed as %v, want %d, %s, %s", rows[i], uint8(k), k, form)
		}
		if toWorker := to == "worker" || to == "node" && form == "session"; toWorker != k.ToWorker() {
			t.Errorf("%s goes to %s", k, to)
		}
	}
}

// typeName is how the specification writes a field's type; strings have
// several names by their bounds.
func typeName(f reflect.StructField) string {
	switch f.Type {
	case reflect.TypeFor[uuid.UUID]():
		return "uuid"
	case reflect.TypeFor[session.Key]():
		return "key"
	case reflect.TypeFor[[]session.ID]():
		return "list of uuid"
	case reflect.TypeFor[[]byte]():
		return "bytes"
	case reflect.TypeFor[[]uint64]():
		return "list of u64"
	case reflect.TypeFor[[]string]():
		return "list of name"
	case reflect.TypeFor[map[string]string]():
		return "map of str by str"
	case reflect.TypeFor[int]():
		return "int"
	}
	switch f.Type.Kind() {
	case reflect.Slice:
		return "list of " + strings.ToLower(f.Type.Elem().Name())
	case reflect.Struct:
		return strings.ToLower(f.Type.Name())
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "str"
	case reflect.Int8:
		return "i8"
	default:
		return fmt.Sprintf("u%d", f.Type.Bits())
	}
}

func TestSpecificationListsEveryField(t *testing.T) {
	sections := map[string]reflect.Type{
		"**limits** is a map:": reflect.TypeFor[Limits](), "**live** is a map:": reflect.TypeFor[Live](), "**pool** is a map:": reflect.TypeFor[Pool](),
		"**size** is a map:": reflect.TypeFor[Size](), "**queue** is a map:": reflect.TypeFor[Queue](),
		"**member** is a map:": reflect.TypeFor[Member](),
	}
	for _, k := range Kinds() {
		if m := New(k); m != nil {
			sections[fmt.Sprintf("\n### %s (%d)\n", k, k)] = reflect.TypeOf(m).Elem()
		}
	}
	strs := map[string]bool{"str": true, "name": true, "short": true, "text": true}
	for after, typ := range sections {
		rows := table(t, after)
		if len(rows) != typ.NumField() {
			t.Errorf("%q lists %d fields, %s has %d", after, len(rows), typ, typ.NumField())
			continue
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, as := strings.TrimSuffix(rows[i][0], " *"), rows[i][1]
			switch want := typeName(f); {
			case name != fieldName(f):
				t.Errorf("%q: field %d is %s, want %s", after, i, name, fieldName(f))
			case as != want && (want != "str" || !strs[as]) && (want != "u32" || as != "ms"):
				t.Errorf("%q: %s is a %s, want %s", after, name, as, want)
			}
		}
	}
}

// A field that is marked as never zero is refused when it is, and no other is.
func TestSpecificationMarksWhatMustBeThere(t *testing.T) {
	for _, m := range controlSamples() {
		for i, row := range table(t, fmt.Sprintf("\n### %s (%d)\n", m.Kind(), m.Kind())) {
			v := reflect.New(reflect.TypeOf(m).Elem())
			v.Elem().Set(reflect.ValueOf(m).Elem())
			v.Elem().Field(i).SetZero()
			if row[1] == "live" { // its own fields are the ones that must be there
				continue
			}
			err := v.Interface().(Control).Check()
			if marked := strings.HasSuffix(row[0], " *"); marked != (err != nil) {
				t.Errorf("%s without %s: %v", m.Kind(), row[0], err)
			}
		}
	}
}

func TestSpecificationListsTheHeader(t *testing.T) {
	want := []struct {
		offset int
		field  string
	}{
		{offKind, "kind"},
		{offFlags, "flags"},
		{offCode, "code"},
		{offEpoch, "epoch"},
		{offVia, "via"},
		{offNode, "node"},
		{offSession, "session"},
		{offKey, "key"},
		{offNumber, "number"},
		{offAck, "ack"},
		{offBudget, "budget"},
		{offPatience, "patience"},
	}
	rows := table(t, "\n## Session messages\n")
	if len(rows) != len(want) {
		t.Fatalf("%d fields listed, there are %d", len(rows), len(want))
	}
	for i, w := range want {
		end := HeaderSize
		if i+1 < len(want) {
			end = want[i+1].offset
		}
		if got := strings.Join(rows[i][:3], " "); got != fmt.Sprintf("%d %d %s", w.offset, end-w.offset, w.field) {
			t.Errorf("listed as %q, want %d %d %s", got, w.offset, end-w.offset, w.field)
		}
	}
	if !strings.Contains(specification(t), fmt.Sprintf("A fixed header of %d bytes", HeaderSize)) ||
		!strings.Contains(specification(t), fmt.Sprintf("| %d bytes follow the header", TraceSize)) {
		t.Errorf("the header has %d bytes, the trace context %d", HeaderSize, TraceSize)
	}
}

func TestSpecificationListsTheFlags(t *testing.T) {
	want := [][2]string{
		{fmt.Sprint(FlagTrace), "trace"},
		{fmt.Sprint(FlagRaw), "raw"},
		{fmt.Sprint(FlagNotRun), "notrun"},
		{fmt.Sprint(FlagUnknown), "unknown"},
		{fmt.Sprint(FlagAgain), "again"},
		{fmt.Sprint(FlagStream), "stream"},
		{fmt.Sprint(FlagNext), "next"},
	}
	rows := table(t, "\n## Session messages\n", "| flag |")
	if len(rows) != len(want) {
		t.Fatalf("%d flags listed, there are %d", len(rows), len(want))
	}
	for i, w := range want {
		if rows[i][0] != w[0] || rows[i][1] != w[1] {
			t.Errorf("listed as %v, want %v", rows[i], w)
		}
	}
}

func TestSpecificationListsEveryCode(t *testing.T) {
	codes := session.Codes()
	rows := table(t, "\n## Error codes\n")
	if len(rows) != len(codes) {
		t.Errorf("%d codes listed, there are %d", len(rows), len(codes))
	}
	for _, row := range rows {
		var c session.Code
		if _, err := fmt.Sscan(row[0], &c); err != nil || codes[c] != row[1] || row[1] == "" {
			t.Errorf("listed as %v, %d is %q", row, c, codes[c])
		}
	}
}

func TestSpecificationListsTheBounds(t *testing.T) {
	want := map[string]int{
		"MaxEnvelope": MaxEnvelope, "MaxFrame": MaxFrame, "MaxName": MaxName, "MaxMethod": MaxMethod, "MaxText": MaxText, "MaxStack": MaxStack, "MaxDump": MaxDump,
		"MaxLabels": MaxLabels, "MaxPools": MaxPools, "MaxMethods": MaxMethods, "MaxSlots": MaxSlots, "MaxList": MaxList, "MaxDepth": MaxDepth,
		"MaxWindow": session.MaxWindow, "MaxMembers": MaxMembers, "MaxChunk": session.MaxChunk, "MaxCredit": session.MaxCredit, "MaxBranches": MaxBranches,
	}
	rows := table(t, "\n## Bounds\n")
	if len(rows) != len(want) {
		t.Errorf("%d bounds listed, want %d", len(rows), len(want))
	}
	for _, row := range rows {
		if row[1] != fmt.Sprint(want[row[0]]) {
			t.Errorf("%s is listed as %s, is %d", row[0], row[1], want[row[0]])
		}
	}
	if !strings.Contains(specification(t), fmt.Sprintf("the default is %d |", session.DefaultWindow)) {
		t.Errorf("the default window is %d", session.DefaultWindow)
	}
}

func TestSpecificationShowsTheGoldenFrames(t *testing.T) {
	shown := regexp.MustCompile("(?s)```golden (\\w+)\n(.*?)```").FindAllStringSubmatch(specification(t), -1)
	for _, want := range []Kind{KindHello, KindWelcome, KindOpen, KindOpened, KindCall, KindReply} {
		found := false
		for _, s := range shown {
			if s[1] == want.String() {
				found = s[2] == golden(t, want)
			}
		}
		if !found {
			t.Errorf("docs/protocol.md does not show %s as it is", want)
		}
	}
}

func TestSpecificationNamesTheVersion(t *testing.T) {
	if !strings.HasPrefix(specification(t), fmt.Sprintf("# The Limpet protocol, version %d\n", Version)) {
		t.Errorf("the version is %d", Version)
	}
}
