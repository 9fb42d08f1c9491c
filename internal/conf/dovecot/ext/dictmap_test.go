package ext

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
	"github.com/google/go-cmp/cmp"
)

// dictionaries are files of dictionaries with an SQL database and with an LDAP directory; most are wrong.
var dictionaries = map[string][]string{
	"sqlite": {
		"", "bogus = 1", "connect = /nonexistent/x\nmap {\n pattern = priv/x\n tabl = y\n}", "connect = x\nmap {\n}", "connect = x\nmap {\n pattern = a\n}", "connect = x\nmap {\n pattern = a\n table = b\n}",
		"connect = x\nmap {\n pattern = a/$b\n table = t\n value_field = v\n}", "connect = x\nmap {\n pattern = a/$b\n fields {\n }\n}", "connect = x\nmap {\n pattern = a\n fields {\n  c = $d\n }\n}",
		"connect = x\nmap {\n pattern = a/$b\n fields {\n  c = d\n }\n}", "connect = x\nmap {\n pattern = a/$b/${c d}\n fields {\n  x = ${b}\n y = ${c d}\n}\n}", "connect = x\nmap {\n pattern = a\n table = t\n value_field = a,b\n value_type = int\n}",
		"connect = x\nmap {\n pattern = a\n table = t\n value_field = a,b\n value_type = int,bogus\n}", "connect = x\nmap {\n bogus {\n }\n}", "connect = x\nbogus {\n}", "connect = x\nmap {\n pattern = a\n map {\n }\n}", "map {\n connect = x\n}",
		"connect = x\nmap {\n pattern = a/$b/$b\n fields {\n  c = $b\n }\n}", "map {\n pattern = a\n table = t\n value_field = v\n}", "connect = x\nmap {\n value_hexblob = 1\n}", "connect = x\n}\n", "map x {\n pattern = a/${b\n fields {\n  c = $b\n }\n}",
		"connect = x\nmap {\n pattern = a\n table = t\n value_field = v\n}\nmap {\n pattern = b\n}\n", "connect = x\nmap {\n pattern = $a$b\n fields {\n  x = ${int:a}\n  y = $c\n }\n}", "value_field = x", "connect = x\nfields {\n}",
	},
	"ldap": {
		"", "uri = ldap://127.0.0.1:1\nbogus = 1", "timeout = x", "max_idle_time = -1", "debug = yes", "tls = maybe", "uri = x\nmap {\n}", "map {\n pattern = a\n filter = x\n}", "map {\n pattern = a\n filter = (x\n}", "map {\n pattern = a\n}",
		"map {\n pattern = a\n value_attribute = v\n scope = bogus\n}", "map {\n pattern = a/$b\n value_attribute = v\n}", "map {\n pattern = a/$b\n value_attribute = v\n fields {\n  x = b\n }\n}", "map {\n pattern = a/$b\n fields {\n  x = $c\n }\n}",
		"map {\n pattern = a\n fields {\n  x = $c\n }\n}", "bogus {\n}", "map {\n bogus {\n }\n}", "map {\n bogus = 1\n}", "map {\n pattern = a\n value_attribute = v\n}", "tls = Try\ntimeout = 5\ntimeout = 5s", "map {\n pattern = a\n filter = ()\n}\n",
	},
}

// failed is how the dict process reports a file that it cannot use.
var failed = regexp.MustCompile(`Error: (\w+): Failed to initialize dictionary '\w+': dict \w+: (.*)`)

// Dovecot's dict process reads the same files, and says the same about them.
func TestDictionaries(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start Dovecot")
	}
	dir := harness.Dir(t)
	want := map[string]string{}
	var dicts strings.Builder
	for driver, list := range dictionaries {
		for i, text := range list {
			name := fmt.Sprintf("%s%d", driver, i)
			path := filepath.Join(dir, name+".ext")
			harness.Write(t, path, text)
			fmt.Fprintf(&dicts, "  %s = %s:%s\n", name, driver, path)
			var err error
			if driver == "sqlite" {
				_, err = LoadDictSQL(nil, path, func(string) {})
			} else {
				_, err = LoadDictLDAP(nil, path, func(string) {})
			}
			if err != nil {
				want[name] = err.Error()
			}
		}
	}
	conf, log := filepath.Join(dir, "dovecot.conf"), filepath.Join(dir, "log")
	harness.Write(t, conf, fmt.Sprintf("protocols =\nbase_dir = %s/run\nstate_dir = %s\nlog_path = %s\nssl = no\ndefault_internal_user = root\ndefault_login_user = nobody\ndefault_internal_group = root\ndict {\n%s}\n", dir, dir, log, dicts.String()))
	p := harness.Start(t, nil, "dovecot", "-F", "-c", conf)
	harness.WaitSocket(t, p, dir+"/run/dict")
	for driver, list := range dictionaries {
		for i := range list {
			// The lookup fails; what matters is what Dovecot logs of the dictionary.
			_, _ = harness.Try("", "doveadm", "-c", conf, "dict", "get", "-u", "root", fmt.Sprintf("proxy:%s/run/dict:%s%d", dir, driver, i), "priv/none")
		}
	}
	p.Stop()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range failed.FindAllStringSubmatch(string(text), -1) {
		got[m[1]] = m[2]
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("- Dovecot, + ours\n%s", diff)
	}
}

func TestDictSQL(t *testing.T) {
	path := unpack(t, `connect = x
map {
  pattern = priv/quota/${class}/$name_2.x
  table = quota
  value_field = bytes,,count
  value_type = uint,string
  fields {
    # not in the order of the pattern
    n = $name_2
    class_id = ${hexblob:class}
  }
}
map {
  pattern = lost
`)
	got, err := LoadDictSQL(nil, path, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Maps) != 1 {
		t.Fatalf("a map that never ends counts: %+v", got.Maps)
	}
	m := got.Maps[0]
	want := []SQLField{{"class_id", "hexblob", "class"}, {"n", "string", "name_2"}}
	if diff := cmp.Diff(want, m.Fields); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]SQLField{{Name: "bytes", Type: "uint"}, {Name: "count", Type: "string"}}, m.Values); diff != "" {
		t.Error(diff)
	}
	if m.Keys != "priv/quota/$/$.x" || m.UsernameField != "'username_field not set'" {
		t.Errorf("keys %q, user %q", m.Keys, m.UsernameField)
	}
}

func TestDict(t *testing.T) {
	path := unpack(t, `uri = proxy:auth
password_key = dovecot/passdb/%u
passdb_objects = extra
key extra {
  key = %u/extra
  format = json
}
key quota {
  key = %u/quota
  default_value = 100M
}
userdb_fields {
  quota_rule = *:storage=%{dict:quota}
  mail = maildir:%{dict:extra.home_dir}/Maildir
}
`)
	got, err := LoadDict(nil, path, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	uri, limit := "proxy:auth", "100M"
	want := &Dict{
		URI: &uri, DefaultPassScheme: "MD5", PassdbObjects: "passdb extra",
		Keys:         []DictKey{{Name: "passdb", Key: "dovecot/passdb/%u", Format: "json"}, {Name: "extra", Key: "%u/extra", Format: "json"}, {Name: "quota", Key: "%u/quota", Format: "value", DefaultValue: &limit}},
		UserdbFields: Fields{{"quota_rule", "*:storage=%{dict:quota}"}, {"mail", "maildir:%{dict:extra.home_dir}/Maildir"}},
		oldPassdb:    "passdb ",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Dict{})); diff != "" {
		t.Error(diff)
	}
}
