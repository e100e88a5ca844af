package heartbeat

import (
	"testing"
	"time"
)

const crowd = 100_000

func watchedCrowd() *Monitor[uint64] {
	m := New[uint64](tick)
	for k := range uint64(crowd) {
		m.Watch(at(time.Duration(k)*10*time.Microsecond), k, time.Second, 3)
	}
	m.Check(at(time.Second))
	return m
}

func BenchmarkBeat100k(b *testing.B) {
	m, now := watchedCrowd(), at(time.Second)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Beat(now, uint64(i%crowd))
	}
}

// BenchmarkRound100k is one second of virtual time: 100,000 beats and 50
// Checks.
func BenchmarkRound100k(b *testing.B) {
	m, now := watchedCrowd(), at(time.Second)
	b.ReportAllocs()
	for b.Loop() {
		for k := range uint64(crowd) {
			if k%(crowd/50) == 0 {
				now = now.Add(tick)
				if got := m.Check(now); len(got) != 0 {
					b.Fatalf("accused %d", len(got))
				}
			}
			m.Beat(now, k)
		}
	}
}

func BenchmarkCheckQuiet100k(b *testing.B) {
	m, now := watchedCrowd(), at(time.Second)
	b.ReportAllocs()
	for b.Loop() {
		m.Check(now)
	}
}

// BenchmarkAllGone100k is the worst Check: all 100,000 at once.
func BenchmarkAllGone100k(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		m := New[uint64](time.Hour)
		for k := range uint64(crowd) {
			m.Watch(at(0), k, time.Second, 3)
		}
		b.StartTimer()
		if got := len(m.Check(at(time.Minute))); got != crowd {
			b.Fatalf("%d gone", got)
		}
	}
}

// BenchmarkWatchdogWork is what watching costs a call that does not hang: its
// beginning and its end, beside 100,000 others.
func BenchmarkWatchdogWork(b *testing.B) {
	d := NewWatchdog[int](tick)
	wards := make([]Ward[int], crowd)
	for i := range wards {
		d.Begin(at(0), &wards[i], i, time.Minute)
	}
	now := at(time.Second)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w := &wards[i%crowd]
		d.Begin(now, w, i, time.Minute)
		d.End(w)
	}
}

// BenchmarkWatchdogCheckQuiet100k is a Check beside 100,000 calls that run and
// are not due.
func BenchmarkWatchdogCheckQuiet100k(b *testing.B) {
	d := NewWatchdog[int](tick)
	wards := make([]Ward[int], crowd)
	for i := range wards {
		d.Begin(at(0), &wards[i], i, time.Minute)
	}
	now := at(time.Second)
	b.ReportAllocs()
	for b.Loop() {
		d.Check(now)
	}
}
