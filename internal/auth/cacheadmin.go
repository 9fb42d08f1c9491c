package auth

import (
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// flushCache drops what is kept of users, or of all if none is named.
func (s *Server) flushCache(users ...string) (dropped int) {
	if s.cache == nil {
		return 0
	}
	escaped := make([]string, len(users))
	for i, user := range users {
		escaped[i] = string(wire.AppendEscaped(nil, user))
	}
	return s.cache.flush(escaped...)
}

// ClearCache drops all answers that are kept (SIGHUP).
func (s *Server) ClearCache() {
	s = s.shared.present.Load()
	if s.cache != nil {
		s.log.Infof("SIGHUP received, %d cache entries flushed", s.flushCache())
	}
}

// LogCache logs what the cache did since the last time (SIGUSR2).
func (s *Server) LogCache() {
	s = s.shared.present.Load()
	if s.cache == nil {
		return
	}
	stats, used := s.cache.takeStats()
	total, percent := stats.hits+stats.misses, 100
	if total > 0 {
		percent = stats.hits * 100 / total
	}
	s.log.Infof("Authentication cache hits %d/%d (%d%%)", stats.hits, total, percent)
	s.log.Infof("Authentication cache inserts: positive: %d entries %d bytes, negative: %d entries %d bytes",
		stats.positive.entries, stats.positive.bytes, stats.negative.entries, stats.negative.bytes)
	s.log.Infof("Authentication cache current size: %d bytes used of %d bytes (%d%%)",
		used, s.cache.size, uint64(used)*100/uint64(s.cache.size))
}

// penalties answers PENALTIES: who has to wait at present.
func (m *masterConn) penalties(id uint32, _ []byte) error {
	return m.w.Append(func(b []byte) []byte {
		for _, p := range m.shared.penalties.all() {
			b = append(wire.AppendID(append(b, "LIST"...), id), '\t')
			if p.Net.IsValid() {
				b = p.Net.Addr().AppendTo(b)
			}
			b = wire.AppendID(b, uint32(p.Count))
			b = strconv.AppendInt(append(b, '\t'), p.Last.Unix(), 10)
			b = strconv.AppendInt(append(b, '\t'), p.Updated.Unix(), 10)
			b = append(b, '\n')
		}
		return append(wire.AppendID(append(b, "DONE"...), id), "\t\n"...)
	})
}
