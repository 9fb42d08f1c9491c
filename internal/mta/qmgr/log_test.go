package qmgr

import (
	"testing"
	"time"
)

func TestAppendSeconds(t *testing.T) {
	tests := []struct {
		d      time.Duration
		digits int
		want   string
	}{
		{0, 2, "0"},
		{-time.Second, 2, "0"},
		{4 * time.Millisecond, 2, "0"},
		{5 * time.Millisecond, 2, "0.01"},
		{90 * time.Millisecond, 2, "0.09"},
		{100 * time.Millisecond, 2, "0.1"},
		{333 * time.Millisecond, 2, "0.33"},
		{12345 * time.Microsecond, 6, "0.012"},
		{999999 * time.Microsecond, 2, "1"},
		{1234 * time.Millisecond, 2, "1.2"},
		{4 * time.Second, 2, "4"},
		{9960 * time.Millisecond, 2, "10"},
		{20400 * time.Millisecond, 2, "20"},
		{123456 * time.Second, 2, "123456"},
		{300 * time.Millisecond, 0, "0"},
	}
	for _, tt := range tests {
		if got := string(appendSeconds(nil, tt.d, tt.digits)); got != tt.want {
			t.Errorf("%v with %d digits: %q, want %q", tt.d, tt.digits, got, tt.want)
		}
	}
}

func TestFeedback(t *testing.T) {
	for _, s := range []string{"", "x", "2", "-1", "1/x", "0.5/"} {
		if _, err := parseFeedback(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
	tests := []struct {
		name     string
		up, down string
		events   string // + reached, - missed
		want     int
	}{
		{"grows by one each", "1", "1", "+++", 8},
		{"up to the limit", "1", "1", "++++++++++++++++++++++", 20},
		{"shrinks by one each", "1", "1", "--", 3},
		{"one for a whole window", "1/concurrency", "1", "+++++", 6},
		{"less than a window", "1/concurrency", "1", "++++", 5},
		{"by square root", "1/sqrt_concurrency", "1", "+++", 6},
		{"half steps down", "1", "0.5", "-", 4},
		{"half steps down twice", "1", "0.5", "--", 4},
		{"half steps down thrice", "1", "0.5", "---", 3},
		{"never below one", "1", "1", "-------", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lim := limits{initial: 5, concurrency: 20}
			lim.up, _ = parseFeedback(tt.up)
			lim.down, _ = parseFeedback(tt.down)
			d := &destination{t: &transport{lim: lim}, window: 5}
			for _, e := range tt.events {
				d.busy = d.window // as if all were in use
				if e == '+' {
					d.reached()
				} else {
					d.missed()
				}
			}
			if d.window != tt.want {
				t.Errorf("concurrency %d, want %d", d.window, tt.want)
			}
		})
	}
	d := &destination{t: &transport{lim: limits{initial: 5, cohorts: 1}}, window: 5}
	for i := range 5 {
		if dead := d.missed(); dead != (i == 4) && d.window > 1 {
			t.Errorf("failure %d: dead %v", i, dead)
		}
	}
}
