package master

import "testing"

// TestPercentFor checks how much garbage a process has for what it does.
func TestPercentFor(t *testing.T) {
	const mb = 1 << 20
	for _, tt := range []struct {
		name            string
		allocated, live uint64
		want            int
	}{
		{"idle", 0, 2 * mb, gcPercent},
		{"a few sessions", 4 * mb, 2 * mb, gcPercent},
		{"busy, little that lives", 128 * mb, 2 * mb, 400},
		{"very busy", 10_000 * mb, 2 * mb, 600},
		{"very busy, much that lives", 10_000 * mb, 48 * mb, 40},
		{"very busy, very much that lives", 10_000 * mb, 1000 * mb, gcPercent},
	} {
		if got := percentFor(tt.allocated, tt.live); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
