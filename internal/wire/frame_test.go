package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// take collects the envelopes of a frame; a frame with any fault has none that
// count.
func take(frame []byte) ([][]byte, error) {
	envs, err := Split(frame)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for env, ok := envs.Next(); ok; env, ok = envs.Next() {
		all = append(all, env)
	}
	return all, envs.Err()
}

func TestFrameRoundTrip(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		frame := AppendHead(nil)
		var want [][]byte
		for range chance.IntN(8) + 1 {
			env := make([]byte, chance.IntN(300)+1)
			for i := range env {
				env[i] = byte(chance.UintN(256))
			}
			want = append(want, env)
			frame = AppendEnvelope(frame, env)
		}
		got, err := take(frame)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d envelopes and %v, want %d", len(got), err, len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("envelope %d is %x, want %x", i, got[i], want[i])
			}
			if cap(got[i]) != len(got[i]) {
				t.Fatalf("appending to envelope %d would write into the next", i)
			}
		}
	}
}

// Every cut of a frame is an error, except between two envelopes.
func TestFrameCuts(t *testing.T) {
	frame := AppendHead(nil)
	whole := map[int]int{} // length of a whole frame: its envelopes
	for n, env := range []string{"a", "four", "the third one"} {
		frame = AppendEnvelope(frame, []byte(env))
		whole[len(frame)] = n + 1
	}
	for size := range len(frame) + 1 {
		got, err := take(frame[:size:size])
		if want, ok := whole[size]; ok {
			if err != nil || len(got) != want {
				t.Errorf("%d bytes: %d envelopes, %v, want %d", size, len(got), err, want)
			}
		} else if !errors.Is(err, ErrFrame) {
			t.Errorf("%d bytes: %v, want ErrFrame", size, err)
		}
	}
}

func TestFramesThatAreNotOurs(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		want  error
	}{
		"nothing":            {nil, ErrFrame},
		"http":               {[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), ErrFrame},
		"tls":                {[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), ErrFrame},
		"another letter":     {[]byte("LMQ\x01\x00\x00\x00\x01a"), ErrFrame},
		"version 0":          {[]byte("LMP\x00\x00\x00\x00\x01a"), ErrFrameVersion},
		"the next version":   {[]byte{'L', 'M', 'P', Version + 1, 0, 0, 0, 1, 'a'}, ErrFrameVersion},
		"version 255":        {[]byte("LMP\xff\x00\x00\x00\x01a"), ErrFrameVersion},
		"no envelope":        {[]byte("LMP\x01"), ErrFrame},
		"an empty envelope":  {[]byte("LMP\x01\x00\x00\x00\x00"), ErrFrame},
		"a length of 4 GiB":  {[]byte("LMP\x01\xff\xff\xff\xffa"), ErrFrame},
		"a length of 2 GiB":  {[]byte("LMP\x01\x80\x00\x00\x00a"), ErrFrame},
		"one byte too long":  {[]byte("LMP\x01\x00\x00\x00\x02a"), ErrFrame},
		"good, then garbage": {[]byte("LMP\x01\x00\x00\x00\x01ag"), ErrFrame},
	} {
		if _, err := take(c.frame); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	frame := AppendEnvelope(AppendHead(nil), make([]byte, MaxEnvelope+1))
	if _, err := take(frame); !errors.Is(err, ErrFrame) {
		t.Errorf("an envelope over MaxEnvelope: %v", err)
	}
	frame = AppendEnvelope(AppendHead(nil), make([]byte, MaxEnvelope))
	if got, err := take(frame); err != nil || len(got) != 1 || len(frame) > MaxFrame {
		t.Errorf("an envelope of MaxEnvelope: %v, frame of %d bytes", err, len(frame))
	}
}

// After the first fault Next stays at its end.
func TestNextStopsAtTheFirstFault(t *testing.T) {
	envs, err := Split([]byte("LMP\x01\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01b"))
	if err != nil {
		t.Fatal(err)
	}
	if env, ok := envs.Next(); !ok || string(env) != "a" {
		t.Errorf("the first envelope is %q, %v", env, ok)
	}
	for range 3 {
		if env, ok := envs.Next(); ok || !errors.Is(envs.Err(), ErrFrame) {
			t.Errorf("after the fault: %q, %v, %v", env, ok, envs.Err())
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, env := range envelopes() {
		f.Add(AppendEnvelope(AppendHead(nil), env))
	}
	f.Add([]byte("LMP\x01\x00\x00\x00\x01ag"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		got, err := take(frame)
		if err != nil {
			return
		}
		again := append([]byte{}, frame[:HeadSize]...)
		for _, env := range got {
			again = AppendEnvelope(again, env)
		}
		if len(got) == 0 || !bytes.Equal(again, frame) {
			t.Errorf("%d envelopes put together are %x, was %x", len(got), again, frame)
		}
	})
}
