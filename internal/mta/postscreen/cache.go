package postscreen

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// maxEntries bounds the clients that are remembered, at about 100 bytes each. Beyond it any one gives way.
const maxEntries = 1_000_000

// A Cache remembers which clients passed which tests. It is kept in memory and, some seconds later,
// in the table, so that a crash costs some clients another test.
type Cache struct {
	spec string
	log  *maillog.Logger
	now  func() time.Time
	keep atomic.Pointer[retention]

	mu      sync.Mutex
	entries map[[16]byte]stamps
	changed chan struct{}
}

// retention says how long entries are kept.
type retention struct {
	enabled  testSet
	time     time.Duration
	interval time.Duration
}

// NewCache reads the cache in a table (postscreen_cache_map). One that cannot be read is begun anew.
func NewCache(spec string, log *maillog.Logger) *Cache {
	c := &Cache{spec: strings.TrimPrefix(spec, "proxy:"), log: log, now: time.Now, entries: make(map[[16]byte]stamps), changed: make(chan struct{}, 1)}
	c.keep.Store(&retention{enabled: earlyTests | lateTests, time: 7 * 24 * time.Hour, interval: 12 * time.Hour})
	if c.spec != "" {
		c.read()
	}
	return c
}

func (c *Cache) read() {
	typ, name, _ := strings.Cut(c.spec, ":")
	if err := table.Buildable(typ); err != nil {
		c.log.Warningf("postscreen_cache_map: %v -- clients are remembered in memory only", err)
		c.spec = ""
		return
	}
	t, err := table.Open(c.spec, table.Options{Log: c.log})
	if err != nil {
		if !missing(name) {
			c.log.Warningf("postscreen_cache_map: %v -- the cache begins empty", err)
		}
		return
	}
	if closer, ok := t.(table.Closer); ok {
		defer closer.Close() //nolint:errcheck // it was only read
	}
	err = table.Walk(t, func(key, value string) error {
		if addr, err := netip.ParseAddr(key); err == nil && len(c.entries) < maxEntries {
			c.entries[addr.Unmap().As16()] = parseStamps(value)
		}
		return nil
	})
	if err != nil {
		c.log.Warningf("postscreen_cache_map: %v -- the rest of the cache is dropped", err)
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

func (c *Cache) lookup(addr netip.Addr) (stamps, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.entries[addr.As16()]
	return s, ok
}

func (c *Cache) update(addr netip.Addr, s stamps) {
	c.mu.Lock()
	if len(c.entries) >= maxEntries {
		for key := range c.entries {
			delete(c.entries, key)
			break
		}
	}
	c.entries[addr.As16()] = s
	c.mu.Unlock()
	c.touch()
}

func (c *Cache) touch() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

const (
	// writeDelay is how long entries wait to be written with others.
	writeDelay = 5 * time.Second
	// writeShare bounds the part of the time that writing takes.
	writeShare = 20
)

// Run writes the cache as it changes until ctx ends, and a last time then. It drops old entries now and then.
func (c *Cache) Run(ctx context.Context) {
	cleaned := c.now()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	pause := time.Duration(0)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			if keep := c.keep.Load(); keep.interval > 0 && c.now().Sub(cleaned) >= keep.interval {
				cleaned = c.now()
				c.clean()
			}
		case <-c.changed:
			wait(ctx, max(writeDelay, pause))
			began := time.Now()
			c.save()
			pause = writeShare * time.Since(began)
		}
	}
	c.save()
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// clean drops clients whose tests have been due for longer than the retention time.
func (c *Cache) clean() {
	keep := c.keep.Load()
	limit := c.now().Add(-keep.time).Unix()
	dropped := 0
	c.mu.Lock()
	for key, s := range c.entries {
		if due, _ := s.todo(keep.enabled, limit); due != 0 {
			delete(c.entries, key)
			dropped++
		}
	}
	retained := len(c.entries)
	c.mu.Unlock()
	if dropped > 0 {
		c.touch()
	}
	c.log.Infof("cache %s full cleanup: retained=%d dropped=%d entries", c.spec, retained, dropped)
}

// save writes the table. A failure is logged: the cache is a convenience.
func (c *Cache) save() {
	if c.spec == "" {
		return
	}
	if err := c.write(); err != nil {
		c.log.Warningf("postscreen_cache_map: %v", err)
	}
}

func (c *Cache) write() error {
	b, err := table.NewBuilder(c.spec, table.BuildOptions{
		Duplicates: table.ReplaceDuplicate, Mode: 0o600, UID: -1, GID: -1, Warn: func(text string) { c.log.Warningf("%s", text) },
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	for key, s := range c.entries {
		b.Add(netip.AddrFrom16(key).Unmap().String(), s.format())
	}
	c.mu.Unlock()
	if err := b.Commit(); err != nil {
		b.Abort()
		return err
	}
	return nil
}
