package verify

import (
	"strconv"
	"strings"
	"time"
)

// A Status is what is known of an address. The numbers are those in the cache.
type Status uint8

// The statuses.
const (
	Deliverable   Status = iota
	Deferred             // the probe met a temporary failure
	Undeliverable        // the probe bounced
	Unknown              // a probe is under way
)

// An entry is a record of the cache.
type entry struct {
	status  Status
	probed  int64 // seconds; a probe is under way since, 0 for none
	updated int64 // seconds; 0 for never
	text    string
}

// format is the record as it is stored.
func (e *entry) format() string {
	b := make([]byte, 0, 32+len(e.text))
	b = strconv.AppendInt(b, int64(e.status), 10)
	b = append(b, ':')
	b = strconv.AppendInt(b, e.probed, 10)
	b = append(b, ':')
	b = strconv.AppendInt(b, e.updated, 10)
	b = append(b, ':')
	return string(append(b, e.text...))
}

// parseEntry reads a stored record.
func parseEntry(s string) (entry, bool) {
	fields := strings.SplitN(s, ":", 4)
	if len(fields) != 4 || len(fields[3]) > maxText {
		return entry{}, false
	}
	var n [3]int64
	for i := range n {
		v, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil || v < 0 {
			return entry{}, false
		}
		n[i] = v
	}
	if n[0] > int64(Unknown) || n[1] == 0 && n[2] == 0 {
		return entry{}, false
	}
	return entry{Status(n[0]), n[1], n[2], fields[3]}, true
}

// expired says whether a record is not to be used any more: it is too old, and no
// probe is under way.
func (s *Service) expired(e *entry, now int64) bool {
	life := s.set.NegativeExpire
	if e.status == Deliverable {
		life = s.set.PositiveExpire
	}
	return now-e.probed > probeTTL && now-e.updated > seconds(life)
}

// stale says whether a record is to be probed again.
func (s *Service) stale(e *entry, now int64) bool {
	if now-e.probed <= probeTTL {
		return false // one is under way
	}
	age := now - e.updated
	if e.status == Deliverable {
		return age > seconds(s.set.PositiveRefresh)
	}
	return age > seconds(s.set.NegativeRefresh)
}

// probeTTL is how many seconds the result of a probe is waited for.
const probeTTL = 1000

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
