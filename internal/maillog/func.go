package maillog

// newFuncSink returns a sink that calls fn for each line instead of writing it.
func newFuncSink(fn func(level Level, text string)) *Sink {
	return &Sink{fn: fn}
}

// call hands one line to fn.
func (s *Sink) call(level Level, line func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = line(s.pending[:0])
	s.sanitize(s.pending)
	s.fn(level, string(s.pending))
}
