package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc: USER_HZ, see proc(5).
const tick = time.Second / 100

// A meter tells how much of the processors others took, who make all rates
// lower and, because what runs in many processes suffers less, ratios too.
type meter struct {
	begin     time.Time
	busy, own time.Duration
}

func newMeter() meter {
	return meter{begin: time.Now(), busy: busyTime(), own: ownTime()}
}

// others is the part of the processors' time that went to others since.
func (m meter) others() float64 {
	total := time.Since(m.begin) * time.Duration(runtime.NumCPU())
	others := (busyTime() - m.busy) - (ownTime() - m.own)
	return max(0, float64(others)/float64(total))
}

// busyTime is the time that all processors have worked.
func busyTime() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var sum time.Duration
	for i, field := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal guest guest_nice;
		// guests are counted in user already.
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0
		}
		sum += time.Duration(n) * tick
	}
	return sum
}

// ownTime is the time that this process and all below it have worked.
func ownTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if syscall.Getrusage(who, &usage) == nil {
			sum += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}
	for _, p := range descendants(os.Getpid())[1:] {
		sum += p.cpu
	}
	return sum
}
