package queue

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyDeferred opens a queue with many deferred messages and looks at the
// time and the memory that takes. QUEUE_TEST_MESSAGES=100000 is the size the
// limits are meant for; by default it is a tenth of that, to be quick.
func TestManyDeferred(t *testing.T) {
	n := 10000
	if v, err := strconv.Atoi(os.Getenv("QUEUE_TEST_MESSAGES")); err == nil {
		n = v
	}
	dir := t.TempDir()
	s := openTest(t, dir, defaultLimits)
	content := text(10 << 10)
	var wg sync.WaitGroup
	const writers = 50
	for range writers {
		wg.Go(func() {
			for range n / writers {
				id, err := commitMessage(s, envelope("recipient@destination.example.com"), content)
				if err != nil {
					t.Error(err)
					return
				}
				m, err := s.Load(id)
				if err != nil {
					t.Error(err)
					return
				}
				m.Outcomes[0] = Outcome{Action: "delayed", DSN: "4.4.1", Text: "connect to mx.destination.example.com[192.0.2.1]:25: Connection timed out"}
				s.Defer(m, time.Unix(2000000000, 0))
			}
		})
	}
	wg.Wait()
	s.Close()
	s = nil
	runtime.GC()
	before := residentMemory(t)
	begin := time.Now()
	s = openTest(t, dir, defaultLimits)
	took := time.Since(begin)
	after := residentMemory(t)
	t.Logf("%d messages: opened in %v, %d KB resident more", n, took.Round(time.Millisecond), (after-before)>>10)
	if s.Len() != n/writers*writers {
		t.Errorf("%d messages, want %d", s.Len(), n)
	}
	// 100,000 are to take less than 5 s and 200 MB; on a busy machine the time can be much longer.
	if limit := 60 * time.Second; took > limit {
		t.Errorf("took %v, want less than %v", took, limit)
	}
	if limit := int64(20<<20) + int64(n)*2000; after-before > limit {
		t.Errorf("took %d bytes of memory, want less than %d", after-before, limit)
	}
	s.Close()
}

func residentMemory(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
