package wire

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/session"
)

func TestControlRoundTrip(t *testing.T) {
	chance := rand.New(rand.NewPCG(4, 4))
	for _, k := range Kinds() {
		for range 200 {
			want := New(k)
			if want == nil {
				break
			}
			fill(chance, reflect.ValueOf(want).Elem(), "")
			switch m := want.(type) { // lists that belong together
			case *Lost:
				m.Started = make([]uint64, len(m.Sessions))
			case *Obituary:
				m.Started = make([]uint64, len(m.Sessions))
			}
			env := AppendControl(nil, want)
			got, err := ParseControl(env)
			if err != nil {
				t.Fatalf("%s: %v of %+v", k, err, want)
			}
			if again := AppendControl(nil, got); !bytes.Equal(again, env) {
				t.Fatalf("%s came back as %+v, was %+v", k, got, want)
			}
		}
	}
}

// The same message is the same bytes, whatever order its maps are walked in.
func TestControlIsDeterministic(t *testing.T) {
	chance := rand.New(rand.NewPCG(5, 5))
	m := &Open{Client: sampleClient, Request: sampleRequest, Pool: "p", Labels: map[string]string{}}
	for range MaxLabels {
		m.Labels[word(chance, 30)] = word(chance, 30)
	}
	want := AppendControl(nil, m)
	for range 100 {
		copied := *m
		copied.Labels = maps.Clone(m.Labels)
		if got := AppendControl(nil, &copied); !bytes.Equal(got, want) {
			t.Fatalf("%x, before %x", got, want)
		}
	}
}

func TestAppendControlAppends(t *testing.T) {
	m := &Identify{Broker: sampleBroker, Epoch: 3}
	got := AppendControl([]byte("before"), m)
	if want := append([]byte("before"), AppendControl(nil, m)...); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestKinds(t *testing.T) {
	for k := range 256 {
		k := Kind(k)
		control := New(k) != nil
		if control && (New(k).Kind() != k || !k.Known()) {
			t.Errorf("New(%s) is of kind %s", k, New(k).Kind())
		}
		if ways := btoi(control) + btoi(k.ToWorker()) + btoi(k.ToHolder()); ways != btoi(k.Known()) {
			t.Errorf("%s is known: %v, control: %v, to worker: %v, to holder: %v", k, k.Known(), control, k.ToWorker(), k.ToHolder())
		}
	}
	if KindOf(nil) != 0 || KindOf([]byte{5, 1}) != KindBeat {
		t.Error("KindOf reads the first byte, 0 if there is none")
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Every field whose value cannot be is named.
func TestCheckNamesTheField(t *testing.T) {
	long, bad := strings.Repeat("x", MaxText+1), "\xff"
	many := map[string]string{}
	for i := range MaxLabels + 1 {
		many[strings.Repeat("k", i+1)] = "v"
	}
	for _, c := range []struct {
		field string
		spoil func(m Control)
		of    Kind
	}{
		{"role", func(m Control) { m.(*Hello).Role = "boss" }, KindHello},
		{"min", func(m Control) { m.(*Hello).Min = 9 }, KindHello},
		{"max", func(m Control) { m.(*Hello).Min, m.(*Hello).Max = 0, 0 }, KindHello},
		{"id", func(m Control) { m.(*Hello).ID = uuid.Nil }, KindHello},
		{"name", func(m Control) { m.(*Hello).Name = long }, KindHello},
		{"name", func(m Control) { m.(*Hello).Name = bad }, KindHello},
		{"program", func(m Control) { m.(*Hello).Program = long }, KindHello},
		{"broker", func(m Control) { m.(*Welcome).Broker = uuid.Nil }, KindWelcome},
		{"name", func(m Control) { m.(*Welcome).Name = long }, KindWelcome},
		{"program", func(m Control) { m.(*Welcome).Program = long }, KindWelcome},
		{"text", func(m Control) { m.(*Error).Text = long }, KindError},
		{"broker", func(m Control) { m.(*Identify).Broker = uuid.Nil }, KindIdentify},
		{"client", func(m Control) { m.(*Open).Client = uuid.Nil }, KindOpen},
		{"request", func(m Control) { m.(*Open).Request = uuid.Nil }, KindOpen},
		{"pool", func(m Control) { m.(*Open).Pool = "" }, KindOpen},
		{"pool", func(m Control) { m.(*Open).Pool = long }, KindOpen},
		{"labels", func(m Control) { m.(*Open).Labels = many }, KindOpen},
		{"labels", func(m Control) { m.(*Open).Labels = map[string]string{"": "v"} }, KindOpen},
		{"labels", func(m Control) { m.(*Open).Labels = map[string]string{"k": long} }, KindOpen},
		{"labels", func(m Control) { m.(*Open).Labels = map[string]string{"k": bad} }, KindOpen},
		{"method", func(m Control) { m.(*Open).Method = long }, KindOpen},
		{"method", func(m Control) { m.(*Offer).Method = long }, KindOffer},
		{"trace", func(m Control) { m.(*Open).Trace = make([]byte, TraceSize-1) }, KindOpen},
		{"trace", func(m Control) { m.(*Offer).Trace = make([]byte, TraceSize+1) }, KindOffer},
		{"trace", func(m Control) { m.(*Broadcast).Trace = make([]byte, 1) }, KindBroadcast},
		{"trace", func(m Control) { m.(*Cast).Trace = make([]byte, 2*TraceSize) }, KindCast},
		{"trace", func(m Control) { m.(*Autopsy).Trace = make([]byte, 16) }, KindAutopsy},
		{"node", func(m Control) { m.(*Opened).Node = 0 }, KindOpened},
		{"request", func(m Control) { m.(*Opened).Request = uuid.Nil }, KindOpened},
		{"session", func(m Control) { m.(*Opened).Session = uuid.Nil }, KindOpened},
		{"pool", func(m Control) { m.(*Opened).Pool = "" }, KindOpened},
		{"worker", func(m Control) { m.(*Opened).Worker = -1 }, KindOpened},
		{"node_name", func(m Control) { m.(*Opened).NodeName = long }, KindOpened},
		{"endpoint", func(m Control) { m.(*Opened).Endpoint = long }, KindOpened},
		{"request", func(m Control) { m.(*Refused).Request = uuid.Nil }, KindRefused},
		{"code", func(m Control) { m.(*Refused).Code = 0 }, KindRefused},
		{"text", func(m Control) { m.(*Refused).Text = long }, KindRefused},
		{"request", func(m Control) { m.(*Queued).Request = uuid.Nil }, KindQueued},
		{"client", func(m Control) { m.(*Withdraw).Client = uuid.Nil }, KindWithdraw},
		{"request", func(m Control) { m.(*Withdraw).Request = uuid.Nil }, KindWithdraw},
		{"client", func(m Control) { m.(*Offer).Client = uuid.Nil }, KindOffer},
		{"request", func(m Control) { m.(*Offer).Request = uuid.Nil }, KindOffer},
		{"pool", func(m Control) { m.(*Offer).Pool = "" }, KindOffer},
		{"client", func(m Control) { m.(*Accept).Live.Client = uuid.Nil }, KindAccept},
		{"request", func(m Control) { m.(*Accept).Live.Request = uuid.Nil }, KindAccept},
		{"session", func(m Control) { m.(*Accept).Live.Session = uuid.Nil }, KindAccept},
		{"pool", func(m Control) { m.(*Accept).Live.Pool = "" }, KindAccept},
		{"worker", func(m Control) { m.(*Accept).Live.Worker = -1 }, KindAccept},
		{"epoch", func(m Control) { m.(*Accept).Live.Epoch = 0 }, KindAccept},
		{"client", func(m Control) { m.(*Decline).Client = uuid.Nil }, KindDecline},
		{"request", func(m Control) { m.(*Decline).Request = uuid.Nil }, KindDecline},
		{"pool", func(m Control) { m.(*Decline).Pool = "" }, KindDecline},
		{"code", func(m Control) { m.(*Decline).Code = 0 }, KindDecline},
		{"text", func(m Control) { m.(*Decline).Text = long }, KindDecline},
		{"client", func(m Control) { m.(*Revoke).Client = uuid.Nil }, KindRevoke},
		{"request", func(m Control) { m.(*Revoke).Request = uuid.Nil }, KindRevoke},
		{"code", func(m Control) { m.(*Revoke).Code = 0 }, KindRevoke},
		{"node", func(m Control) { m.(*Register).Node = 0 }, KindRegister},
		{"name", func(m Control) { m.(*Register).Name = "" }, KindRegister},
		{"host", func(m Control) { m.(*Register).Host = long }, KindRegister},
		{"endpoint", func(m Control) { m.(*Register).Endpoint = long }, KindRegister},
		{"labels", func(m Control) { m.(*Register).Labels = many }, KindRegister},
		{"pools", func(m Control) { m.(*Register).Pools = make([]Pool, MaxPools+1) }, KindRegister},
		{"pools", func(m Control) { m.(*Register).Pools[0].Name = "" }, KindRegister},
		{"slots", func(m Control) { m.(*Register).Pools[0].Slots = -1 }, KindRegister},
		{"slots", func(m Control) { m.(*Register).Pools[0].Slots = MaxSlots + 1 }, KindRegister},
		{"methods", func(m Control) { m.(*Register).Pools[0].Methods = make([]string, MaxMethods+1) }, KindRegister},
		{"methods", func(m Control) { m.(*Register).Pools[0].Methods = []string{long} }, KindRegister},
		{"live[0]", func(m Control) { m.(*Register).Live[0].Session = uuid.Nil }, KindRegister},
		{"session", func(m Control) { m.(*Ended).Session = uuid.Nil }, KindEnded},
		{"code", func(m Control) { m.(*Ended).Code = 0 }, KindEnded},
		{"text", func(m Control) { m.(*Ended).Text = long }, KindEnded},
		{"code", func(m Control) { m.(*Lost).Code = 0 }, KindLost},
		{"text", func(m Control) { m.(*Lost).Text = long }, KindLost},
	} {
		var m Control
		for _, m = range controlSamples() {
			if m.Kind() == c.of {
				break
			}
		}
		if err := m.Check(); err != nil {
			t.Fatalf("%s sample: %v", c.of, err)
		}
		c.spoil(m)
		_, err := ParseControl(AppendControl(nil, m))
		if !errors.Is(err, ErrControl) || !strings.Contains(err.Error(), c.field) || !strings.Contains(err.Error(), c.of.String()) {
			t.Errorf("%s with an impossible %s: %v", c.of, c.field, err)
		}
	}
}

// anyOf returns a control message as the map that travels.
func anyOf(t *testing.T, m Control) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := msgpack.Unmarshal(AppendControl(nil, m)[1:], &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func envelopeOf(t *testing.T, k Kind, fields any) []byte {
	t.Helper()
	body, err := msgpack.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{byte(k)}, body...)
}

// A value of the wrong type is an error that names the field, in every field
// of every kind, and so is an integer that does not fit.
func TestWrongTypesNameTheField(t *testing.T) {
	wrong := []any{
		map[string]any{"a": 1},
		[]any{map[int]int{1: 1}},
		"a word", true, 1.5,
		[]byte{1, 2, 3},
		uint64(1 << 63), int64(-1 << 62),
		msgpack.RawMessage{0xd4, 0x05, 0x00},
	}
	for _, m := range controlSamples() {
		typ := reflect.TypeOf(m).Elem()
		for i := range typ.NumField() {
			field := fieldName(typ.Field(i))
			for _, v := range wrong {
				if fitting(typ.Field(i).Type, v) {
					continue
				}
				fields := anyOf(t, m)
				fields[field] = v
				_, err := ParseControl(envelopeOf(t, m.Kind(), fields))
				if !errors.Is(err, ErrControl) || !strings.Contains(err.Error(), field) {
					t.Errorf("%s with %s = %v (%T): %v", m.Kind(), field, v, v, err)
				}
			}
		}
	}
}

// fitting reports whether v is no wrong value for a field of that type, as far
// as its form goes.
func fitting(t reflect.Type, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return t.Kind() == reflect.Struct // an unknown field in it
	case bool:
		return t.Kind() == reflect.Bool
	case string, []byte:
		return t.Kind() == reflect.String || t == reflect.TypeFor[[]byte]()
	case uint64:
		return t.Kind() == reflect.Uint64
	case int64:
		return t.Kind() == reflect.Int || t.Kind() == reflect.Int64
	default:
		_ = v
		return false
	}
}

// Unknown fields are ignored, and missing ones are zero, so that a later
// version can add some.
func TestFieldsMayComeAndGo(t *testing.T) {
	for _, m := range controlSamples() {
		fields := anyOf(t, m)
		fields["added_later"] = map[string]any{"deep": []any{1, "two", nil, []byte{3}, 4.5}}
		got, err := ParseControl(envelopeOf(t, m.Kind(), fields))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s with an unknown field: %+v, %v", m.Kind(), got, err)
		}
	}
	got, err := ParseControl([]byte{byte(KindBeat), 0x80})
	if err != nil || !reflect.DeepEqual(got, &Beat{}) {
		t.Errorf("an empty beat: %+v, %v", got, err)
	}
	if got, err := ParseControl([]byte{byte(KindHello), 0x80}); err == nil {
		t.Errorf("an empty hello: %+v", got)
	}
}

func TestMsgpackThatIsNotWhatItSays(t *testing.T) {
	beat := func(b ...byte) []byte { return append([]byte{byte(KindBeat)}, b...) }
	deep := append(beat(0x81, 0xa1, 'x'), bytes.Repeat([]byte{0x91}, MaxEnvelope/2)...)
	register := func(field string, b ...byte) []byte {
		env := append([]byte{byte(KindRegister), 0x81, 0xa0 | byte(len(field))}, field...)
		return append(env, b...)
	}
	for name, env := range map[string][]byte{
		"nothing":                      beat(),
		"a list for the map":           beat(0x95, 1, 2, 3, 4, 5),
		"a word for the map":           beat(0xa3, 'b', 'a', 'd'),
		"an extension for the map":     beat(0xd4, 5, 0x80),
		"bytes after it":               beat(0x80, 0x80),
		"a map that is cut":            beat(0x81),
		"a name that is cut":           beat(0x81, 0xa3, 's'),
		"a number for a name":          beat(0x81, 1, 1),
		"a value that is cut":          beat(0x81, 0xa3, 's', 'e', 'q', 0xcf, 1),
		"the code that is none":        beat(0x81, 0xa3, 's', 'e', 'q', 0xc1),
		"4 billion fields":             beat(0xdf, 0xff, 0xff, 0xff, 0xff),
		"4 billion items, unknown":     beat(0x81, 0xa1, 'x', 0xdd, 0xff, 0xff, 0xff, 0xff),
		"4 GiB of bytes, unknown":      beat(0x81, 0xa1, 'x', 0xc6, 0xff, 0xff, 0xff, 0xff),
		"4 GiB of extension":           beat(0x81, 0xa1, 'x', 0xc9, 0xff, 0xff, 0xff, 0xff, 1),
		"4 million deep":               deep,
		"4 billion sessions":           register("live", 0xdd, 0xff, 0xff, 0xff, 0xff),
		"100 million sessions":         register("live", 0xdd, 0x06, 0xff, 0xff, 0xff),
		"4 billion pools":              register("pools", 0xdd, 0xff, 0xff, 0xff, 0xff),
		"4 billion labels":             register("labels", 0xdf, 0xff, 0xff, 0xff, 0xff),
		"a 4 GiB name":                 register("name", 0xdb, 0xff, 0xff, 0xff, 0xff),
		"a label for a list":           register("labels", 0x81, 0xa1, 'k', 0x91, 0xa1),
		"a number for a label":         register("labels", 0x81, 0xa1, 'k', 1),
		"an extension for labels":      register("labels", 0xc7, 5, 1, 0xdf, 0xff, 0xff, 0xff, 0xff),
		"a 4 GiB id":                   append([]byte{byte(KindHello), 0x81, 0xa2, 'i', 'd'}, 0xc6, 0xff, 0xff, 0xff, 0xff),
		"a field of no name in a pool": register("pools", 0x91, 0x81, 0xa0, 0xc1),
		"a field of no name in a list": register("pools", 0x91, 0x81, 0xa0, 0x91, 0xc1),
		"a key of 15 bytes":            append([]byte{byte(KindOpened), 0x81, 0xa3, 'k', 'e', 'y', 0xc4, 15}, make([]byte, 15)...),
		"more sessions than are taken": register("live", append([]byte{0xdc, 0xff, 0xff}, bytes.Repeat([]byte{0xc0}, 1<<16-1)...)...),
	} {
		before := allocated()
		_, err := ParseControl(env)
		if grown := allocated() - before; grown > 1<<20 {
			t.Errorf("%s: %d bytes were allocated for %d", name, grown, len(env))
		}
		if !errors.Is(err, ErrControl) {
			t.Errorf("%s: %v, want ErrControl", name, err)
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// The longest lists that are taken cost a bounded multiple of their bytes.
func TestListsCostWhatTheyWeigh(t *testing.T) {
	env := append([]byte{byte(KindLost)}, 0x82, 0xa4, 'c', 'o', 'd', 'e', 1, 0xa8)
	env = append(env, "sessions"...)
	env = append(env, 0xdc, MaxList>>8, MaxList&0xff)
	env = append(env, bytes.Repeat([]byte{0xc0}, MaxList)...)
	before := allocated()
	if _, err := ParseControl(env); err != nil {
		t.Fatal(err)
	}
	if grown := allocated() - before; grown > 64*MaxList {
		t.Errorf("%d bytes for a list of %d", grown, MaxList)
	}
}

func TestNoControlMessage(t *testing.T) {
	for _, env := range [][]byte{nil, {}, {0}, {byte(KindCall)}, {byte(KindReply), 0x80}, {200, 0x80}, {255}} {
		if m, err := ParseControl(env); m != nil || !errors.Is(err, ErrControl) {
			t.Errorf("%x: %+v, %v", env, m, err)
		}
	}
}

// Decoding survives being called from many goroutines: encoders and decoders
// are shared.
func TestControlFromManyGoroutines(t *testing.T) {
	done := make(chan error)
	for range 8 {
		go func() {
			for range 200 {
				for _, m := range controlSamples() {
					got, err := ParseControl(AppendControl(nil, m))
					if err == nil && !reflect.DeepEqual(got, m) {
						err = errors.New(m.Kind().String() + " came back as another")
					}
					if err != nil {
						done <- err
						return
					}
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestLimitsOnTheWire(t *testing.T) {
	for _, l := range []session.Limits{{}, {Lease: 1e9, Idle: 2e9, MaxAge: 3e9, Window: 64}, {Window: session.MaxWindow}} {
		if got := LimitsOf(l).Session(); got != l {
			t.Errorf("%+v came back as %+v", l, got)
		}
	}
	if got := LimitsOf(session.Limits{Window: 1 << 20}).Window; got != session.MaxWindow {
		t.Errorf("a window of 1<<20 travels as %d", got)
	}
	if got := LimitsOf(session.Limits{Window: -1}).Window; got != 0 {
		t.Errorf("a window of -1 travels as %d", got)
	}
}

func TestFailureRoundTrip(t *testing.T) {
	for _, f := range []Failure{{}, {Text: "a"}, {Stack: "b"}, {strings.Repeat("x", MaxText), strings.Repeat("y", MaxStack)}} {
		if got := ParseFailure(AppendFailure(nil, f.Text, f.Stack)); got != f {
			t.Errorf("%.40q came back as %.40q", f, got)
		}
	}
	cut := ParseFailure(AppendFailure(nil, strings.Repeat("ä", MaxText), strings.Repeat("\xff", MaxStack+1)))
	if len(cut.Text) > MaxText || len(cut.Stack) > MaxStack || !strings.HasSuffix(cut.Text, "ä...") {
		t.Errorf("text of %d bytes, stack of %d", len(cut.Text), len(cut.Stack))
	}
	if Text("\xff") != "?" {
		t.Errorf("%q is not UTF-8", Text("\xff"))
	}
}

// A failure that does not decode is still an error that says something.
func TestFailuresThatDoNotDecode(t *testing.T) {
	for name, body := range map[string][]byte{
		"words": []byte("it broke"), "deep": bytes.Repeat([]byte{0x91}, MaxEnvelope), "4 GiB": {0x81, 0xa4, 't', 'e', 'x', 't', 0xdb, 0xff, 0xff, 0xff, 0xff},
		"a number": {0x81, 0xa4, 't', 'e', 'x', 't', 1}, "trailing": {0x80, 0x80}, "zero": make([]byte, 5),
	} {
		before := allocated()
		f := ParseFailure(body)
		if grown := allocated() - before; grown > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", name, grown)
		}
		if f.Text == "" || len(f.Text) > MaxText || f.Stack != "" {
			t.Errorf("%s: %.60q", name, f)
		}
	}
	long := append([]byte{0x81, 0xa4, 't', 'e', 'x', 't', 0xda, 0xff, 0xff}, bytes.Repeat([]byte{'x'}, 1<<16-1)...)
	if f := ParseFailure(long); len(f.Text) != MaxText {
		t.Errorf("a text of 64 KiB is kept as %d bytes", len(f.Text))
	}
}

func FuzzParseControl(f *testing.F) {
	for _, m := range controlSamples() {
		f.Add(AppendControl(nil, m))
	}
	f.Add([]byte{byte(KindRegister), 0x81, 0xa4, 'l', 'i', 'v', 'e', 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{byte(KindRegister), 0x81, 0xa4, 'l', 'i', 'v', 'e', 0x91, 0x81, 0xa0, 0xc1})
	f.Fuzz(func(t *testing.T, env []byte) {
		m, err := ParseControl(env)
		if err != nil {
			if !errors.Is(err, ErrControl) {
				t.Errorf("%v is not ErrControl", err)
			}
			return
		}
		once := AppendControl(nil, m)
		again, err := ParseControl(once)
		if err != nil {
			t.Fatalf("%+v is written as what does not parse: %v", m, err)
		}
		if twice := AppendControl(nil, again); !bytes.Equal(once, twice) {
			t.Errorf("written again it is\n%x, was\n%x", twice, once)
		}
	})
}

func FuzzParseFailure(f *testing.F) {
	f.Add(AppendFailure(nil, "text", "stack"))
	f.Add([]byte("words"))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := ParseFailure(body)
		if len(got.Text) > MaxText || len(got.Stack) > MaxStack {
			t.Errorf("text of %d bytes, stack of %d", len(got.Text), len(got.Stack))
		}
		if again := ParseFailure(AppendFailure(nil, got.Text, got.Stack)); again != got {
			t.Errorf("%q is written as %q", got, again)
		}
	})
}

func BenchmarkControl(b *testing.B) {
	kinds := []Kind{KindBeat, KindOpen, KindAccept, KindOpened, KindRegister}
	for _, m := range controlSamples() {
		if !slices.Contains(kinds, m.Kind()) {
			continue
		}
		env := AppendControl(nil, m)
		b.Run("encode/"+m.Kind().String(), func(b *testing.B) {
			buf := make([]byte, 0, 2*len(env))
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendControl(buf[:0], m)
			}
		})
		b.Run("again/"+m.Kind().String(), func(b *testing.B) {
			var r Reader
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Control(env); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("decode/"+m.Kind().String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseControl(env); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The bounds of control messages and of values hang together.
func TestBoundsHangTogether(t *testing.T) {
	if MaxDepth > codec.MaxDepth || MaxPools > MaxList || MaxMethods > MaxList || MaxLabels > MaxList {
		t.Error("a message within its bounds may be refused for its form")
	}
}
