package accounts

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// dictSettings are those of a dictionary's passdb and userdb, without the URI.
const dictSettings = `default_pass_scheme = PLAIN
iterate_prefix = users/
key passdb {
  key = passdb/%u
  format = json
}
key userdb {
  key = userdb/%u
  format = json
}
key quota {
  key = quota/%u
  default_value = 100M
}
key host {
  key = host/%s
  default_value = none
}
passdb_objects = passdb
passdb_fields {
  userdb_quota = %{dict:quota}
  reason = %{dict:host} %{dict:nokey} %{dict:passdb.reason} %u
}
userdb_objects = userdb
userdb_fields {
  quota_rule = *:storage=%{dict:quota}
  mail = maildir:%{dict:userdb.home}/Maildir
}
`

// dictEntries are keys, after "shared/", and values.
var dictEntries = [][2]string{
	{"passdb/alice", `{"password":"secret","reason":"x y","nologin":true,"n":12,"nothing":null,"f":1.5}`},
	{"userdb/alice", `{ "uid" : 8, "gid" : "8", "home" : "/srv/alice" }`},
	{"passdb/bob@example.com", `{"password":"{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols="}`},
	{"userdb/bob@example.com", `{"uid":"8","gid":"8","home":"/srv/b\u00e9\"\\"}`},
	{"quota/bob@example.com", "5G"},
	{"passdb/empty", `{}`},
	{"userdb/empty", `{}`},
	{"passdb/nopassword", `{"nopassword":"y"}`},
	{"passdb/both", `{"nopassword":"y","password":"x"}`},
	{"passdb/nested", `{"password":"secret","x":{"y":1}}`},
	{"passdb/list", `{"password":"secret","x":[1,2]}`},
	{"passdb/damaged", `{"password":"secret"`},
	{"passdb/text", `secret`},
	{"passdb/noname", `{"":"x","password":"secret"}`},
	{"passdb/net", `{"password":"secret","allow_nets":"198.51.100.0/24"}`},
	{"host/imap", "the tab\tand\nline"},
	{"users/alice", ""}, {"users/bob@example.com", "x"}, {"users/deeper/one", "x"}, {"users", "x"},
}

const dictRequests = `AUTH alice / secret
AUTH alice / wrong
AUTH alice /
AUTH bob@example.com / secret
AUTH bob@example.com / wrong
AUTH nobody / secret
AUTH empty / x
AUTH nopassword / anything
AUTH both / x
AUTH nested / secret
AUTH list / secret
AUTH damaged / secret
AUTH text / secret
AUTH noname / secret
AUTH net / secret
CRAM-MD5 alice / secret
CRAM-MD5 alice / wrong
CRAM-MD5 bob@example.com / secret
USER alice
USER bob@example.com
USER nobody
USER empty
PASS alice
PASS nobody
PASS damaged
LIST
`

// dictFile is the entries as the driver file keeps them.
func dictFile() string {
	var b strings.Builder
	escape := strings.NewReplacer("\x01", "\x011", "\t", "\x01t", "\n", "\x01n", "\r", "\x01r")
	for _, e := range dictEntries {
		fmt.Fprintf(&b, "shared/%s\n%s\n", escape.Replace(e[0]), escape.Replace(e[1]))
	}
	return b.String()
}

// dictTable is the entries as a table of an SQL database.
func dictTable() string {
	var b strings.Builder
	b.WriteString("CREATE TABLE entries (kind text, name text, value text);\n")
	quote := strings.NewReplacer("'", "''")
	for _, e := range dictEntries {
		kind, name, ok := strings.Cut(e[0], "/")
		if ok {
			fmt.Fprintf(&b, "INSERT INTO entries VALUES ('%s', '%s', '%s');\n", kind, quote.Replace(name), quote.Replace(e[1]))
		}
	}
	return b.String()
}

const dictMaps = `map {
  pattern = shared/$kind/$name
  table = entries
  value_field = value
  fields {
    kind = $kind
    name = $name
  }
}
`

const dictConfig = `auth_verbose = yes
auth_mechanisms = plain cram-md5
auth_username_chars =
passdb {
  driver = dict
  args = @DIR@/auth.conf.ext
}
userdb {
  driver = dict
  args = @DIR@/auth.conf.ext
}
`

// startRedis starts a server with the entries and returns its port.
func startRedis(t *testing.T) int {
	t.Helper()
	dir := harness.Dir(t)
	port := harness.FreePort(t)
	p := harness.Start(t, nil, "redis-server", "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--requirepass", "redispass")
	harness.WaitTCP(t, p, fmt.Sprintf("127.0.0.1:%d", port))
	var commands strings.Builder
	for _, e := range dictEntries {
		for _, word := range [...]string{"*3", "$3", "SET", fmt.Sprintf("$%d", len("d/"+e[0])), "d/" + e[0], fmt.Sprintf("$%d", len(e[1])), e[1]} {
			commands.WriteString(word + "\r\n")
		}
	}
	harness.Run(t, commands.String(), "redis-cli", "-p", fmt.Sprint(port), "-a", "redispass", "--no-auth-warning", "--pipe")
	return port
}

// TestDict asks dictionaries of three kinds.
func TestDict(t *testing.T) {
	t.Parallel()
	database := sqliteFile(t, dictTable())
	if err := os.Chmod(database, 0o666); err != nil { // the dict process opens it for writing
		t.Fatal(err)
	}
	redis := startRedis(t)
	for name, scenario := range map[string]struct{ config, uri, requests string }{
		"file":         {"", "file:@DIR@/entries.dict", dictRequests},
		"sqlite":       {"dict {\n  users = sqlite:@DIR@/maps.conf\n}\nservice dict {\n  unix_listener dict {\n    mode = 0666\n  }\n}\n", "proxy::users", dictRequests},
		"redis":        {"", fmt.Sprintf("redis:host=127.0.0.1:port=%d:prefix=d/:password=redispass", redis), dictRequests},
		"wrong secret": {"", fmt.Sprintf("redis:host=127.0.0.1:port=%d:prefix=d/:password=wrong", redis), "AUTH alice / secret\nUSER alice\n"},
		"unreachable":  {"", fmt.Sprintf("redis:host=127.0.0.1:port=%d", harness.FreePort(t)), "AUTH alice / secret\nUSER alice\nPASS alice\n"},
		"fs":           {"", "fs:posix:prefix=@DIR@/tree/", "AUTH alice / secret\nAUTH ../alice / secret\nAUTH nobody / secret\nUSER alice\nUSER ..\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{
				"dovecot.conf": scenario.config + dictConfig, "auth.conf.ext": "uri = " + scenario.uri + "\n" + dictSettings,
				"entries.dict": dictFile(), "maps.conf": "connect = " + database + "\n" + dictMaps, "requests": scenario.requests,
				"tree/passdb/alice": dictEntries[0][1], "tree/userdb/alice": dictEntries[1][1],
			}
			theirs, ours := outcome(play(t, harness.Original, files)), outcome(play(t, harness.Dovetail, files))
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
		})
	}
}

// outcome is what both programs must have in common: users are listed in any order, and
// what is wrong with a dictionary or its values has words of its own.
func outcome(answers []string) []string {
	var lines, listed []string
	for _, line := range answers {
		switch {
		case strings.HasPrefix(line, "LIST\t"):
			listed = append(listed, line)
			continue
		case strings.HasPrefix(line, "auth: Error: "):
			continue
		}
		lines = append(lines, line)
	}
	slices.Sort(listed)
	// Dovecot checks allow_nets twice, in its worker and again.
	return append(slices.Compact(lines), listed...)
}

// A user who was added to the file is found without a reload.
func TestDictChanges(t *testing.T) {
	t.Parallel()
	r := start(t, harness.Dovetail, map[string]string{
		"dovecot.conf": dictConfig, "auth.conf.ext": "uri = file:@DIR@/entries.dict\n" + dictSettings, "entries.dict": dictFile(),
	})
	before := ask(t, r, "AUTH later / secret")
	path := filepath.Join(r.dir, "entries.dict")
	harness.Write(t, path+".new", dictFile()+"shared/passdb/later\n{\"password\":\"secret\"}\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	after := ask(t, r, "AUTH later / secret")
	if !strings.HasPrefix(before[1], "FAIL\t") || !strings.HasPrefix(after[1], "OK\t") {
		t.Errorf("%q, then %q", before, after)
	}
}
