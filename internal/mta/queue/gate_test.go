package queue

import (
	"testing"
	"time"
)

// takeOne has the committer come to the gate, and returns the size of the batch.
func takeOne(g *gate) <-chan int {
	size := make(chan int, 1)
	go func() { size <- len(g.take(nil)) }()
	return size
}

func TestGateWaitsForCompany(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before int // were in the last batch
		behind int // came while it was written
		then   int // come afterwards
	}{
		{"one client", 1, 0, 1},
		{"two in turn", 1, 1, 1},
		{"many together", 10, 0, 10},
		{"many in two groups", 10, 6, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := new(gate)
			g.init()
			for range tt.before {
				g.put(new(commit)) //nolint:errcheck // it is not closed
			}
			if got := <-takeOne(g); got != tt.before {
				t.Fatalf("a first batch of %d, want %d", got, tt.before)
			}
			for range tt.behind {
				g.put(new(commit)) //nolint:errcheck // it is not closed
			}
			g.took(time.Second)
			g.patience = time.Hour // only company ends the wait
			batch := takeOne(g)
			for range tt.then {
				select {
				case got := <-batch:
					t.Fatalf("a batch of %d before all were there", got)
				default:
				}
				g.put(new(commit)) //nolint:errcheck // it is not closed
			}
			if got := <-batch; got != tt.before+tt.behind {
				t.Errorf("a batch of %d, want %d", got, tt.before+tt.behind)
			}
		})
	}
}

// Clients that do not come back cost the others one wait at most.
func TestGateGivesUp(t *testing.T) {
	g := new(gate)
	g.init()
	for range 10 {
		g.put(new(commit)) //nolint:errcheck // it is not closed
	}
	<-takeOne(g)
	g.took(time.Second)
	if g.patience != maxPatience {
		t.Errorf("patience of %v, want %v", g.patience, maxPatience)
	}
	g.put(new(commit)) //nolint:errcheck // it is not closed
	if got := <-takeOne(g); got != 1 {
		t.Errorf("a batch of %d, want 1", got)
	}
	g.took(time.Second)
	if g.expected != 1 {
		t.Errorf("expecting %d, want 1", g.expected)
	}
}

func TestGateClosedWhileWaiting(t *testing.T) {
	g := new(gate)
	g.init()
	g.expected, g.patience = 2, time.Hour
	g.put(new(commit)) //nolint:errcheck // it is not closed
	batch := takeOne(g)
	g.close()
	if got := <-batch; got != 1 {
		t.Errorf("a batch of %d, want 1", got)
	}
}

// Where a sync takes no time nobody waits.
func TestGateOnFastDisk(t *testing.T) {
	g := new(gate)
	g.init()
	g.took(minPatience / 2)
	if g.patience != 0 {
		t.Errorf("patience of %v, want none", g.patience)
	}
}
