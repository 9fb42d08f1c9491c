package verify

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/table"
)

// tableSpec is address_verify_map without "proxy:", which says only who opens it.
func (s *Service) tableSpec() string { return strings.TrimPrefix(s.set.Map, "proxy:") }

// read reads the cache. One that cannot be read is begun anew: it holds nothing
// that cannot be found out again.
func (s *Service) read() {
	spec := s.tableSpec()
	if spec == "" {
		return
	}
	typ, name, _ := strings.Cut(spec, ":")
	if err := table.Buildable(typ); err != nil {
		s.log.Warningf("address_verify_map: %v -- results are kept in memory only", err)
		s.set.Map = ""
		return
	}
	t, err := table.Open(spec, table.Options{Log: s.log})
	if err != nil {
		if !missing(name) {
			s.log.Warningf("address_verify_map: %v -- the cache begins empty", err)
		}
		return
	}
	if c, ok := t.(table.Closer); ok {
		defer c.Close() //nolint:errcheck // it was only read
	}
	w, ok := t.(table.Walker)
	if !ok {
		return
	}
	now := s.now().Unix()
	err = w.Walk(func(key, value string) error {
		e, ok := parseEntry(value)
		if ok && !s.expired(&e, now) && len(s.entries) < maxEntries {
			s.entries[cacheKey(key)] = e
		}
		return nil
	})
	if err != nil {
		s.log.Warningf("address_verify_map: %v -- the rest of the cache is dropped", err)
	}
}

// missing says whether there is no file of a table, whatever its ending.
func missing(name string) bool {
	for _, suffix := range []string{"", ".db", ".lmdb", ".cdb"} {
		if _, err := os.Stat(name + suffix); err == nil {
			return false
		}
	}
	return true
}

const (
	// writeDelay is how long results wait to be written with others.
	writeDelay = 10 * time.Second
	// writeShare bounds the part of the time that writing takes.
	writeShare = 20
)

// Run writes the cache as it changes until ctx ends, and a last time then.
func (s *Service) Run(ctx context.Context) {
	var cleanups <-chan time.Time
	if s.set.CleanupInterval > 0 {
		tick := time.NewTicker(s.set.CleanupInterval)
		defer tick.Stop()
		cleanups = tick.C
	}
	pause := time.Duration(0)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-cleanups:
			s.purge()
		case <-s.changed:
			wait(ctx, max(writeDelay, pause))
			began := time.Now()
			s.save()
			pause = writeShare * time.Since(began)
		}
	}
	s.probes.Wait()
	s.save()
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// purge drops what is too old.
func (s *Service) purge() {
	now := s.now().Unix()
	s.mu.Lock()
	dropped := 0
	for key, e := range s.entries {
		if s.expired(&e, now) {
			delete(s.entries, key)
			dropped++
		}
	}
	retained := len(s.entries)
	s.mu.Unlock()
	if dropped > 0 {
		s.touch()
	}
	s.log.Infof("cache %s full cleanup: retained=%d dropped=%d entries", s.set.Map, retained, dropped)
}

// save writes the cache. A failure is logged: the cache is a convenience.
func (s *Service) save() {
	if s.tableSpec() == "" {
		return
	}
	if err := s.write(); err != nil {
		s.log.Warningf("address_verify_map: %v", err)
	}
}

func (s *Service) write() error {
	b, err := table.NewBuilder(s.tableSpec(), table.BuildOptions{
		Duplicates: table.ReplaceDuplicate, Mode: 0o644, UID: -1, GID: -1, Warn: func(text string) { s.log.Warningf("%s", text) },
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	for key, e := range s.entries {
		b.Add(key, e.format())
	}
	s.mu.Unlock()
	if err := b.Commit(); err != nil {
		b.Abort()
		return err
	}
	return nil
}
