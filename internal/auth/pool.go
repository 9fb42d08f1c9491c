package auth

import "sync"

// A pool runs jobs in at most max goroutines, in the order they came. Jobs are
// bounded by those who submit them. A pool with nothing to do has no
// goroutines.
type pool struct {
	mu      sync.Mutex
	max     int
	running int
	queue   []func()
	head    int // of the queue
}

// submit runs job soon.
func (p *pool) submit(job func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running < p.max {
		p.running++
		go p.run(job)
		return
	}
	p.queue = append(p.queue, job)
}

func (p *pool) run(job func()) {
	for job != nil {
		job()
		job = p.next()
	}
}

// next takes a job from the queue; without one the goroutine ends.
func (p *pool) next() func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) {
		p.queue, p.head = nil, 0
		p.running--
		return nil
	}
	job := p.queue[p.head]
	p.queue[p.head] = nil
	p.head++
	if p.head > 1024 && p.head > len(p.queue)/2 { // do not grow for ever under constant load
		p.queue = append(p.queue[:0:0], p.queue[p.head:]...)
		p.head = 0
	}
	return job
}
