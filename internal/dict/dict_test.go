package dict

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
)

var alice = User{Name: "alice"}

// all returns the keys below a prefix with their values.
func all(t *testing.T, d Dict, user User, q Query) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := Iterate(context.Background(), d, user, q, func(key, value string) bool {
		got[key] = value
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func commit(t *testing.T, d Dict, user User, changes func(*Transaction)) error {
	t.Helper()
	tx := Begin(d, user)
	changes(tx)
	return tx.Commit(context.Background())
}

func mustOpen(t *testing.T, env *Env, uri string) Dict {
	t.Helper()
	d, err := Open(env, uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// sqlEnv has a dictionary "sql" in an SQLite database.
func sqlEnv(t *testing.T) *Env {
	t.Helper()
	dir := t.TempDir()
	database := filepath.Join(dir, "db")
	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE q (user text, kind text, name text, n integer, bin blob, UNIQUE (user, kind, name)); CREATE TABLE s (a text, b text, v text, UNIQUE (a, b))"); err != nil {
		t.Fatal(err)
	}
	settings := "connect = " + database + `
map {
  pattern = priv/quota/$kind/$name
  table = q
  username_field = user
  value_field = n
  value_type = int
  fields {
    kind = $kind
    name = $name
  }
}
map {
  pattern = priv/blob/$name
  table = q
  username_field = user
  value_field = bin
  value_type = hexblob
  fields {
    name = ${hexblob:name}
  }
}
map {
  pattern = shared/x/$a/$b
  table = s
  value_field = v
  fields {
    a = $a
    b = $b
  }
}
`
	return &Env{BaseDir: dir, Named: map[string]string{"sql": "sqlite:" + dir + "/maps"}, Files: ext.Files{dir + "/maps": []byte(settings)}}
}

// Every driver that keeps more than a value does the same.
func TestDrivers(t *testing.T) {
	env := sqlEnv(t)
	for name, uri := range map[string]string{
		"file": "file:" + t.TempDir() + "/sub/dict", "fcntl": "file:" + t.TempDir() + "/dict:lock=fcntl", "flock": "file:" + t.TempDir() + "/sub/dict:lock=flock",
		"fs": "fs:posix:prefix=" + t.TempDir() + "/", "sql": "proxy::sql",
	} {
		t.Run(name, func(t *testing.T) {
			d := mustOpen(t, env, uri)
			if _, err := Lookup(context.Background(), d, alice, "shared/x/a/b"); !errors.Is(err, ErrNotFound) {
				t.Errorf("empty: %v", err)
			}
			err := commit(t, d, alice, func(tx *Transaction) {
				tx.Set("shared/x/a/b", "1\t\n\x01%_'\"\\")
				tx.Set("shared/x/a/c", "2")
				tx.Set("shared/x/a_/c", "3")
				tx.Set("shared/x/a/c", "two")
				tx.Unset("shared/x/a/none")
			})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"shared/x/a/b": "1\t\n\x01%_'\"\\", "shared/x/a/c": "two"}
			if diff := cmp.Diff(want, all(t, d, alice, Query{Prefix: "shared/x/a/"})); diff != "" {
				t.Error(diff)
			}
			if name != "fs" {
				want["shared/x/a_/c"] = "3"
				if diff := cmp.Diff(want, all(t, d, alice, Query{Prefix: "shared/x/", Recurse: true})); diff != "" {
					t.Error(diff)
				}
			}
			if err := commit(t, d, alice, func(tx *Transaction) { tx.Unset("shared/x/a/b") }); err != nil {
				t.Fatal(err)
			}
			if value, err := Lookup(context.Background(), d, alice, "shared/x/a/b"); !errors.Is(err, ErrNotFound) {
				t.Errorf("unset: %q, %v", value, err)
			}
			if _, err := Lookup(context.Background(), d, User{}, "priv/x"); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("private key of nobody: %v", err)
			}
			if _, err := Lookup(context.Background(), d, alice, "x"); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("neither shared nor private: %v", err)
			}
		})
	}
}

func TestAtomicInc(t *testing.T) {
	env := sqlEnv(t)
	for name, uri := range map[string]string{"file": "file:" + t.TempDir() + "/dict", "sql": "proxy::sql"} {
		t.Run(name, func(t *testing.T) {
			d := mustOpen(t, env, uri)
			const key = "priv/quota/bytes/now"
			err := commit(t, d, alice, func(tx *Transaction) {
				tx.AtomicInc(key, 5)
				tx.Set("priv/quota/bytes/other", "1")
			})
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("increase of nothing: %v", err)
			}
			if err := commit(t, d, alice, func(tx *Transaction) { tx.Set(key, "9007199254740993") }); err != nil {
				t.Fatal(err)
			}
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					for range 5 {
						tx := Begin(d, alice)
						tx.AtomicInc(key, 3)
						tx.AtomicInc(key, -2)
						if err := tx.Commit(context.Background()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			group.Wait()
			if value, err := Lookup(context.Background(), d, alice, key); value != "9007199254741013" || err != nil {
				t.Errorf("%q, %v", value, err)
			}
			if value, err := Lookup(context.Background(), d, alice, "priv/quota/bytes/other"); value != "1" || err != nil {
				t.Errorf("beside a missing key: %q, %v", value, err)
			}
			if name == "sql" {
				if _, err := Lookup(context.Background(), d, User{Name: "bob"}, key); !errors.Is(err, ErrNotFound) {
					t.Errorf("another user's: %v", err)
				}
			}
		})
	}
}

func TestSQLTypes(t *testing.T) {
	d := mustOpen(t, sqlEnv(t), "proxy::sql")
	for key, value := range map[string]string{"priv/quota/a/b": "x", "priv/blob/00ff": "zz", "priv/blob/xx": "00", "priv/nosuch": "1", "shared/x/a": "1"} {
		err := commit(t, d, alice, func(tx *Transaction) { tx.Set(key, value) })
		if err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s = %s was accepted: %v", key, value, err)
		}
	}
}

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{"plain": "plain", "a/b": `a\|b`, `a\b`: `a\\b`, `\/|`: `\\\||`, "": ""} {
		if got := Escape(text); got != want {
			t.Errorf("Escape(%q) = %q, want %q", text, got, want)
		}
		if got := Unescape(want); got != text {
			t.Errorf("Unescape(%q) = %q", want, got)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	env := &Env{BaseDir: "/run/dovecot", Named: map[string]string{"f": "file:/x", "loop": "bogus:x"}}
	for uri, want := range map[string]string{
		"nothing":                   "Dictionary URI is missing ':': nothing",
		"bogus:x":                   "Unknown dict module: bogus",
		"sqlite:/x":                 "Unknown dict module: sqlite",
		"file:/x:lock=dotlock":      "dict file: Invalid parameter: lock=dotlock",
		"redis:host=localhost":      "dict redis: Invalid IP: localhost",
		"redis:port=0":              "dict redis: Invalid port: 0",
		"redis:x=1":                 "dict redis: Unknown parameter: x=1",
		"proxy:x":                   "dict proxy: Invalid URI: x",
		"proxy::none":               "dict proxy: Unconfigured dictionary name 'none'",
		"proxy::loop":               "dict proxy: Unknown dict module: bogus",
		"proxy:dict:f":              "",
		"proxy:idle_msecs=1:dict:f": "",
		"proxy:/run/dovecot/dict:f": "",
	} {
		_, err := Open(env, uri)
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%s: %s, want %q", uri, got, want)
		}
	}
}

// escapeDots keeps keys in their tree.
func TestFSPaths(t *testing.T) {
	d := &fsDict{prefix: "/p/"}
	for key, want := range map[string]string{
		"shared/a/b": "/p/a/b", "shared/../x": "/p/..../x", "shared/./x": "/p/.../x", "shared/a/..": "/p/a/....", "shared/.hidden": "/p/.hidden", "priv/x": "/p/alice/x",
	} {
		if got, err := d.path(alice, key); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", key, got, err, want)
		}
	}
	for _, user := range []string{"..", ".", "a/b", "a\x00"} {
		if got, err := d.path(User{Name: user}, "priv/x"); err == nil {
			t.Errorf("user %q: %s", user, got)
		}
	}
}

// A file that another program has locked is waited for, not changed; a lock of a dead process
// is broken.
func TestStaleLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dict")
	d := mustOpen(t, &Env{}, "file:"+path)
	if err := os.WriteFile(path+".lock", fmt.Appendf(nil, "%d:elsewhere.example", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	tx := Begin(d, alice)
	tx.Set("shared/a", "x")
	if err := tx.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("locked: %v", err)
	}
	old := longAgo()
	if err := os.Chtimes(path+".lock", old, old); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(context.Background()); err != nil {
		t.Errorf("stale: %v", err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dict")
	if err := os.WriteFile(path, []byte("shared/a\nb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, &Env{}, "file:"+path)
	if err := commit(t, d, alice, func(tx *Transaction) { tx.Set("shared/c", "d") }); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o604 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// A scripted Redis server.
func serveRedis(t *testing.T, answers ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for _, answer := range answers {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
				fmt.Fprint(conn, answer)
			}
			conn.Close()
		}
	}()
	return "redis:port=" + strings.TrimPrefix(l.Addr().String(), "127.0.0.1:")
}

// Whatever is not an answer is an error, never a missing key.
func TestRedisErrors(t *testing.T) {
	for _, answer := range []string{"", "+OK\r\n", "-ERR no\r\n", ":1\r\n", "$5\r\nabc\r\n", "$3\r\nabcdef\r\n", "$-2\r\n", "$99999999999\r\n", "$3\nabc\n", "*1\r\n$-1\r\n", "nonsense\r\n", "$x\r\n", "$-1\r\n$-1\r\n", strings.Repeat("x", 10000)} {
		d := mustOpen(t, &Env{}, serveRedis(t, answer))
		if value, err := d.Lookup(context.Background(), alice, "shared/x"); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%.20q: %q, %v", answer, value, err)
		}
	}
	d := mustOpen(t, &Env{}, serveRedis(t, "$-1\r\n", "$3\r\nabc\r\n"))
	if _, err := d.Lookup(context.Background(), alice, "shared/x"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	// The server has closed that connection: it is not used again.
	idle := d.(*redisDict).idle[0]
	for deadline := time.Now().Add(30 * time.Second); idle.isQuiet(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the end of the connection is not noticed")
		}
	}
	if value, err := d.Lookup(context.Background(), alice, "priv/x"); value != "abc" || err != nil {
		t.Errorf("%q, %v", value, err)
	}
}

func TestRedisKeys(t *testing.T) {
	d := &redisDict{prefix: "p/"}
	for _, tt := range []struct{ user, key, want string }{
		{"alice", "shared/a/b", "p/a/b"}, {"alice", "priv/a/b", "p/alice/a/b"}, {"al/ice", "priv/a", `p/al\-ice/a`}, {`a\b`, "priv/a", `p/a\b/a`}, {`a\/b`, "priv/a", `p/a\\\-b/a`},
	} {
		if got := d.fullKey(User{Name: tt.user}, tt.key); got != tt.want {
			t.Errorf("%q", got)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("priv/a\nvalue\nshared/b\n\x01n\x01t\x011\n"))
	f.Add([]byte("key only\n"))
	f.Add([]byte("a\nb"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries := parseEntries(text)
		if again := parseEntries(appendEntries(nil, entries)); !maps.Equal(entries, again) {
			t.Errorf("%q became %q", entries, again)
		}
	})
}

func FuzzRESP(f *testing.F) {
	for _, text := range []string{"+OK\r\n", "-ERR x\r\n", ":12\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*2\r\n+OK\r\n:1\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := readReply(bufio.NewReader(strings.NewReader(text)), 0)
		if err == nil && r.kind == respBulk && len(r.text) > len(text) {
			t.Errorf("%q", r.text)
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add("shared/x/$/y/$", "shared/x/a/y/b/c")
	f.Add("$$", "a/b")
	f.Fuzz(func(t *testing.T, pattern, key string) {
		values, ok := matchKey(pattern, key)
		if ok && len(values) != strings.Count(pattern, "$") && key != "" {
			t.Errorf("%q has %q of %q", values, key, pattern)
		}
		for _, recurse := range [...]bool{false, true} {
			if p, ok := matchPrefix(pattern, key, recurse); ok {
				if got := p.key(func(int) string { return p.partial + "x" }); !strings.HasPrefix(got, strings.TrimSuffix(key, "/")) {
					t.Errorf("%q is not below %q", got, key)
				}
			}
		}
	})
}

func longAgo() time.Time { return time.Now().Add(-2 * lockStale) }
