package imap

import (
	"runtime"
	"time"
)

// workers runs the commands of sessions on goroutines whose stacks have grown
// to what commands need, so that those of waiting sessions stay small.
type workers struct {
	jobs chan *session
	idle chan struct{} // a token per worker that waits for more
}

// workerIdle is how long a worker waits for more to do.
const workerIdle = 10 * time.Second

func (w *workers) init() {
	w.jobs = make(chan *session)
	w.idle = make(chan struct{}, 2*runtime.GOMAXPROCS(0))
}

// run has a worker call s.process and returns when it is done.
func (w *workers) run(s *session) {
	select {
	case w.jobs <- s:
	default:
		go w.work(s)
	}
	<-s.processed
}

func (w *workers) work(s *session) {
	timer := time.NewTimer(workerIdle)
	defer timer.Stop()
	for {
		s.process()
		s.processed <- struct{}{}
		select {
		case w.idle <- struct{}{}:
		default:
			return // enough others wait
		}
		timer.Reset(workerIdle)
		select {
		case s = <-w.jobs:
			<-w.idle
		case <-timer.C:
			<-w.idle
			return
		}
	}
}
