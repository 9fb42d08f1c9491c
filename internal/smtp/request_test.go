package smtp

import (
	"testing"
	"time"
)

func TestRequestDeadline(t *testing.T) {
	const timeout = 10 * time.Second
	start := time.Unix(1e9, 0)
	q := request{rate: 100}
	for _, step := range []struct {
		at    time.Duration
		bytes int // that came before
		want  time.Duration
	}{
		{0, 0, 10 * time.Second},
		{4 * time.Second, 0, 10 * time.Second},
		{8 * time.Second, 100, 11 * time.Second},
		{9 * time.Second, 100_000, 19 * time.Second}, // no more than the timeout from then
		{18 * time.Second, 50, 19500 * time.Millisecond},
	} {
		q.add(step.bytes)
		if got := q.deadline(start.Add(step.at), timeout); !got.Equal(start.Add(step.want)) {
			t.Errorf("at %v after %d bytes: %v, want %v", step.at, step.bytes, got.Sub(start), step.want)
		}
	}
}
