package maillog

// elsewhere are the destinations of lines that go not where the others go; nil
// where they do.
type elsewhere struct{ debug, info *Sink }

// Route has lines about defects and informational lines go to sinks of their own,
// which s owns from then on; nil for those that stay here. Sinks that it had before and
// does not get again are closed.
func (s *Sink) Route(debug, info *Sink) {
	now := &elsewhere{debug, info}
	s.other.Swap(now).each(func(old *Sink) {
		if old != debug && old != info {
			old.Close()
		}
	})
}

// Routed returns the sinks that Route was given last.
func (s *Sink) Routed() (debug, info *Sink) {
	if o := s.other.Load(); o != nil {
		return o.debug, o.info
	}
	return nil, nil
}

// IsSyslog reports whether lines go to the syslog daemon.
func (s *Sink) IsSyslog() bool { return s != nil && s.kind == toSyslog }

// SetTimestamp has lines in files begin with the time in the form of strftime(3);
// %{usecs} are the microseconds. An empty layout is that of the style.
func (s *Sink) SetTimestamp(layout string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.layout, s.stamp = layout, nil
}

// sink is where lines of a level go, nil for where the others go.
func (o *elsewhere) sink(level Level) *Sink {
	switch {
	case o == nil:
		return nil
	case level == Debug && o.debug != nil:
		return o.debug
	case level <= Info:
		return o.info
	}
	return nil
}

func (o *elsewhere) each(fn func(*Sink)) {
	if o == nil {
		return
	}
	if o.debug != nil {
		fn(o.debug)
	}
	if o.info != nil && o.info != o.debug {
		fn(o.info)
	}
}
