package ext

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authBinary is Dovecot's auth process. Started by hand it reads its databases'
// files, says what is wrong and exits.
const authBinary = "/usr/lib/dovecot/auth"

// original is what Dovecot's auth process says about a file of a passdb with a driver.
func original(t *testing.T, driver, path string) string {
	t.Helper()
	if _, err := os.Stat(authBinary); err != nil {
		if os.Getuid() != 0 {
			t.Skip("only root can run Dovecot's auth process")
		}
		t.Fatalf("%v: run test/install-packages", err)
	}
	dir := filepath.Dir(path)
	conf := filepath.Join(dir, "dovecot.conf")
	text := fmt.Sprintf("protocols =\nbase_dir = %s\nlog_path = /dev/stderr\nssl = no\nimport_environment = EXT_TEST\npassdb {\n  driver = %s\n  args = %s\n}\nuserdb {\n  driver = prefetch\n}\n", dir, driver, path)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, authBinary, "-c", conf)
	cmd.Env = append(os.Environ(), "EXT_TEST=from the environment")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("auth took the file: %s", out)
	}
	var said []string
	for l := range strings.Lines(string(out)) {
		if !strings.Contains(l, "old-stats-user") {
			said = append(said, l)
		}
	}
	return strings.Join(said, "")
}

// ours is what we say about the same file; echo tells what of it a file without mistakes would show.
func ours[T any](path string, load func(Files, string, func(string)) (T, error), echo func(T) string) string {
	var b strings.Builder
	v, err := load(nil, path, func(text string) { fmt.Fprintf(&b, "Warning: %s\n", text) })
	if err != nil {
		fmt.Fprintf(&b, "Fatal: %s\n", err)
	} else {
		fmt.Fprintf(&b, "Fatal: %s\n", echo(v))
	}
	return b.String()
}

// values are the ways to write a value, and what may stand around it. They end in a driver
// that nobody has, so that Dovecot says what it read.
var values = []string{
	"driver = plain", "driver=plain", "  driver\t=\t plain text \t", "driver = \"quoted # text\" # comment", "driver = 'a \\' b'", `driver = "a\\b\"c"`, `driver = a "b" c`, `driver = "a" "b"`, "driver = a\\\n   b",
	"driver = a \\\n b \\\n\tc", "driver = a \\\n# comment\n b", "driver = a \\\n\n b", "driver = a \\ # comment\n b", "driver = \\\n\\\n x", "driver = x#y", "driver = it's # no comment", `driver = "open # y`, "driver = <file",
	"driver = $ENV:EXT_TEST", "driver = a $ENV:EXT_TEST b $ENV:NOT_SET_ANYWHERE c", "driver = a$ENV:EXT_TEST $x %$ $", `driver = "$ENV:EXT_TEST"`, "driver = a\t$ENV:EXT_TEST\tb", "driver = one\ndriver = two", "driver =", "driver = \"",
	"driver = \"\"", "driver = x\r\n", "driver = {", "driver = }", "section {\n driver = inside\n}\ndriver = outside", "section name {\n inner {\n }\n bogus\n = 5 {\n}\n}\ndriver = x", "section { garbage\n}\ndriver = x",
	"section {\n driver = lost\n}", "section {\n driver = lost", "!include inc/*.ext\n", "!include inc/a.ext\ndriver = after", "driver = before\n!include_try none.ext", "!include_try inc/{b,a}.ext", "driver = x\n\\", "driver = x \\",
	"!include = x", "driver \\\n = x", "driver = a  b", "# driver = x\n\t# y\ndriver = z", "!include inc\ndriver = x", "driver = a\x00b", "\"driver\" = x", "driver = 'a\"", "driver = \\",
}

// mistakes end the reading.
var mistakes = []string{
	"bogus = 1", "= 1", "driver", "driver x", "}", "driver = x\n}\n", "section", "section name", "section name x {", "section{", "} {", "!include none.ext", "!include none/*.ext", "!include main.ext", "!include", "Driver = x",
	"userdb_warning_disable = maybe", "userdb_warning_disable = YES\nuserdb_warning_disable = 1", "userdb_warning_disable =", "driver += x", "driver=a\nbogus {\n}\nx = y", "!include inc/bad.ext", "driver = x\n\nbogus \\\n\n = 1",
	"section {\n}\n}\n", "connect = x", "driver = x#\nbogus=#\n",
}

func unpack(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "inc"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "main.ext")
	for name, content := range map[string]string{path: text, dir + "/inc/a.ext": "driver = file a\n", dir + "/inc/b.ext": "driver = file b", dir + "/inc/bad.ext": "driver = x\n\nbogus = 1\n"} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func compare(t *testing.T, driver, path, got string) {
	t.Helper()
	if want := original(t, driver, path); got != want {
		text, _ := os.ReadFile(path)
		t.Errorf("%s\nDovecot: %sours:    %s", text, want, got)
	}
}

func TestLanguage(t *testing.T) {
	t.Setenv("EXT_TEST", "from the environment")
	for i, text := range append(append([]string{}, values...), mistakes...) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			path := unpack(t, text+"\n")
			if i < len(values) {
				path = unpack(t, "connect = x\n"+text)
			}
			compare(t, "sql", path, ours(path, LoadSQL, func(s *SQL) string { return fmt.Sprintf("sql: Unknown database driver '%s'", *s.Driver) }))
		})
	}
}

func TestKinds(t *testing.T) {
	never := func(any) string { return "nothing wrong" }
	for i, c := range []struct{ driver, text string }{
		{"ldap", ""}, {"ldap", "base = x\n"}, {"ldap", "uris = x\n"}, {"ldap", "base =\nhosts =\nderef = \n"}, {"ldap", "base = x\nhosts = y\nscope = ONE"}, {"ldap", "base = x\nhosts = y\ntls_require_cert = no"},
		{"ldap", "base = x\nhosts = y\ntls_require_cert = Never\nderef = Always\nscope = SubTree2"}, {"ldap", "base = x\nhosts = y\nldap_version = 2\ntls = yes"}, {"ldap", "base = x\nhosts = y\nldap_version = 0x2\nsasl_bind = yes\ntls=yes"},
		{"ldap", "ldap_version = x"}, {"ldap", "ldap_version = -1"}, {"ldap", "ldap_version ="}, {"ldap", "ldap_version = 2147483648"}, {"ldap", "ldap_version = 08x\nderef = z\nbase = x\nhosts = y\n"}, {"ldap", "base = x\nhosts = y\nldap_version =  +3.5\nderef = z"},
		{"ldap", "auth_bind = 1"}, {"ldap", "bogus = 1"}, {"ldap", "map {\n bogus = 1\n}\nscope = y\nbase = x\nuris = y"}, {"ldap", "driver = x"},
		{"sql", ""}, {"sql", "driver = x"}, {"sql", "connect = x"}, {"sql", "hosts = y"},
		{"oauth2", ""}, {"oauth2", "tokeninfo_url = x\nactive_value ="}, {"oauth2", "tokeninfo_url = x\nactive_attribute ="}, {"oauth2", "grant_url = x"}, {"oauth2", "grant_url = x\nclient_id = y\nintrospection_mode = bogus"},
		{"oauth2", "introspection_url = x\nintrospection_mode = local"}, {"oauth2", "timeout_msecs = x"}, {"oauth2", "debug = true"}, {"oauth2", "bogus = 1"}, {"oauth2", "introspection_url = x\nintrospection_mode = AUTH"},
		{"dict", ""}, {"dict", "key a.b {\n}"}, {"dict", "key {\n}\nx = 1"}, {"dict", "key a {\n format = bogus\n}"}, {"dict", "key a {\n key b {\n }\n}"}, {"dict", "bogus {\n}"}, {"dict", "key a {\n}\nbogus {\n}"},
		{"dict", "key a {\n bogus = 1\n}"}, {"dict", "passdb_objects = a"}, {"dict", "key a {\n}\nuserdb_objects = b  a"}, {"dict", "key a {\n}\nuserdb_objects = a"}, {"dict", "key a {\n format = json\n}\npassdb_objects = a\n"},
		{"dict", "value_format = xml"}, {"dict", "value_format = json\npassword_key = x\nuser_key = y\nbogus=1"}, {"dict", "password_key = x\n"}, {"dict", "passdb_fields {\n anything = goes\n x {\n}\n}"}, {"dict", "key a {\n name = b\n format = json\n}\npassdb_objects = a"},
		{"dict", "iterate_disable = 2"}, {"dict", "}"}, {"dict", "key a {\nkey = x"}, {"dict", "key a {\n}\nkey a {\n}\nkey b.c {\n}"}, {"dict", "default_pass_scheme = PLAIN\npassdb_fields {\n}\nuserdb_fields {\n}\nfields {\n}"},
	} {
		t.Run(fmt.Sprintf("%s %d", c.driver, i), func(t *testing.T) {
			path := unpack(t, c.text)
			var got string
			switch c.driver {
			case "ldap":
				got = ours(path, LoadLDAP, func(l *LDAP) string { return never(l) })
			case "sql":
				got = ours(path, LoadSQL, func(s *SQL) string { return never(s) })
			case "oauth2":
				got = ours(path, LoadOAuth2, func(o *OAuth2) string { return never(o) })
			case "dict":
				got = ours(path, LoadDict, func(d *Dict) string { return never(d) })
			}
			compare(t, c.driver, path, got)
		})
	}
	t.Run("no file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "none.ext")
		compare(t, "sql", path, ours(path, LoadSQL, func(s *SQL) string { return never(s) }))
	})
}
