package auth

import (
	"fmt"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
)

func TestCacheAges(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := newCache(1<<20, time.Hour, time.Minute)
	c.now = func() time.Time { return now }
	found, unknown := c.hash("P1\talice"), c.hash("P1\tnobody")
	c.put(found, "P1\talice", []byte("{PLAIN}x"), true)
	c.put(unknown, "P1\tnobody", nil, false)
	check := func(key cacheKey, want memory) {
		t.Helper()
		if got, ok := c.get(key); !ok || got != want {
			t.Errorf("%+v, %v; want %+v", got, ok, want)
		}
	}
	check(found, memory{value: "{PLAIN}x", right: true})
	check(unknown, memory{})
	now = now.Add(2 * time.Minute)
	check(found, memory{value: "{PLAIN}x", right: true, negativeExpired: true})
	check(unknown, memory{expired: true, negativeExpired: true})
	c.tell(found, false)
	now = now.Add(time.Hour)
	check(found, memory{value: "{PLAIN}x", expired: true, negativeExpired: true})
	if stats, _ := c.takeStats(); stats.hits != 3 || stats.misses != 2 || stats.positive.entries != 1 || stats.negative.entries != 1 {
		t.Errorf("%+v", stats)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const size = 1 << 20
	c := newCache(size, time.Hour, time.Hour)
	for i := range 20_000 {
		text := fmt.Sprintf("P1\tuser%d", i)
		value := make([]byte, i%500)
		c.put(c.hash(text), text, value, true)
		if c.used > size {
			t.Fatalf("%d bytes are used", c.used)
		}
	}
	if len(c.nodes) != c.order.Len() || len(c.nodes) < size/(nodeOverhead+500) {
		t.Errorf("%d entries, %d in order", len(c.nodes), c.order.Len())
	}
	c.put(c.hash("P1\tlarge"), "P1\tlarge", make([]byte, size), true)
	if _, ok := c.get(c.hash("P1\tlarge")); ok {
		t.Error("an entry is larger than the cache")
	}
	if n := len(c.nodes); c.flush() != n || c.used != 0 || len(c.nodes) != 0 {
		t.Errorf("%d bytes, %d entries are left", c.used, len(c.nodes))
	}
}

func TestCacheFlushesUsers(t *testing.T) {
	c := newCache(1<<20, time.Hour, time.Hour)
	for _, text := range []string{"P1\talice\timap", "U1\talice", "P1+admin\talice", "P1\tbob", "P1\t"} {
		c.put(c.hash(text), text, []byte("x"), true)
	}
	if n := c.flush("alice", "nobody"); n != 3 {
		t.Errorf("%d entries flushed, not 3", n)
	}
	if _, ok := c.get(c.hash("P1\tbob")); !ok {
		t.Error("bob's is gone")
	}
}

// What a value was is gone with its entry.
func TestCacheForgets(t *testing.T) {
	c := newCache(1<<20, time.Hour, time.Hour)
	value := []byte("{PLAIN}secret")
	c.put(c.hash("P1\talice"), "P1\talice", value, true)
	c.forget(c.hash("P1\talice"))
	for _, b := range value {
		if b != 0 {
			t.Fatalf("%q is left in memory", value)
		}
	}
}

func TestCacheKey(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT x FROM t WHERE a = '%u'": "%u",
		"'%n' '%d'":                      "%u",
		"%Ln@%{domain} %{username}":      "%u",
		"%n":                             "%n",
		"%w %{user} %u %s %%":            "%u\t%s\t%w",
		"uid=user,=x=%{ldap:mail} (uid=%{login_user}) %{ldap:mail}": "%{ldap:mail}\t%{login_user}",
		"nothing %":      "",
		"%{sha256:user}": "%{sha256:user}",
	} {
		if got := db.CacheKey(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
