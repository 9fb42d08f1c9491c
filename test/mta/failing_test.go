package mta

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// failingTables are tables that cannot answer, by the name of the case. Nobody listens on
// port 1.
var failingTables = []struct{ name, table string }{
	{"ldap", "ldap:@DIR@/etc/ldap.cf"},
	{"mysql", "mysql:@DIR@/etc/sql.cf"},
	{"pgsql", "pgsql:@DIR@/etc/sql.cf"},
	{"memcache", "memcache:@DIR@/etc/memcache.cf"},
	{"tcp", "tcp:127.0.0.1:@TCP@"},
	{"socketmap", "socketmap:inet:127.0.0.1:@SOCKETMAP@:name"},
	{"proxied", "proxy:ldap:@DIR@/etc/ldap.cf"},
	{"brokenhash", "hash:@DIR@/etc/broken"},
	{"emptyhash", "hash:@DIR@/etc/empty"},
	{"missinghash", "hash:@DIR@/etc/missing"},
	{"missinglmdb", "lmdb:@DIR@/etc/missing"},
	{"missingcdb", "cdb:@DIR@/etc/missing"},
	{"missingtext", "texthash:@DIR@/etc/missing"},
	{"missingpattern", "pcre:@DIR@/etc/missing"},
	{"missingclient", "ldap:@DIR@/etc/missing"},
	{"fail", "fail:purpose"},
	{"union", "unionmap:{static:x, fail:purpose}"},
	{"pipe", "pipemap:{static:x, fail:purpose}"},
	{"second", "inline:{{nothing=here}} tcp:127.0.0.1:@TCP@"},
}

// cleanupTables are parameters with tables that cleanup(8) asks.
var cleanupTables = []string{"canonical_maps", "virtual_alias_maps", "sender_bcc_maps", "recipient_bcc_maps"}

// crashing are tables that end Postfix's process; what mail gets then is left out.
var crashing = []struct{ name, table string }{
	{"sqlite", "sqlite:@DIR@/etc/sqlite.cf"},
}

// TestFailingTables has a table of each kind fail where cleanup(8), trivial-rewrite(8) and
// local(8) look addresses up. Mail is refused for now or deferred, as Postfix does it, and
// never bounced.
func TestFailingTables(t *testing.T) {
	t.Parallel()
	theirs, ours := failTables(t, harness.Original), failTables(t, harness.Dovetail)
	for name := range theirs {
		if diff := cmp.Diff(theirs[name], ours[name]); diff != "" {
			t.Errorf("%s: Postfix (-), Dovetail (+):\n%s", name, diff)
		}
	}
	for name, said := range ours {
		for _, line := range said {
			if !strings.Contains(line, ": 451 4.") && !strings.Contains(line, "status=deferred") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// failTables returns what becomes of mail for which a table fails, by its name.
func failTables(t *testing.T, p harness.Program) map[string][]string {
	s := newSite(t, p, harness.Dir(t))
	s.values["TCP"], s.values["SOCKETMAP"] = answering(t, "400 not%20now\n"), answering(t, "12:TEMP not now,")
	tables := failingTables
	if p == harness.Dovetail {
		tables = slices.Concat(failingTables, crashing)
	}
	services, transports := baseMaster, ""
	ports := make(map[string]string) // by table and parameter
	for _, table := range tables {
		for _, param := range cleanupTables {
			port, service := fmt.Sprint(harness.FreePort(t)), table.name+"_"+param
			ports[service] = port
			services += fmt.Sprintf("127.0.0.1:%s inet n - n - - smtpd\n  -o cleanup_service_name=%s\n", port, service)
			services += fmt.Sprintf("%s unix n - n - 0 cleanup\n  -o {%s = %s}\n", service, param, table.table)
		}
		services += fmt.Sprintf("%s unix - n n - - local\n  -o {alias_maps = %s}\n", table.name, table.table)
		transports += fmt.Sprintf("{%s@local.test = %s:}, ", table.name, table.name)
	}
	s.write(t, "main.cf", lastOnly(baseMain+"mydestination = local.test\nlocal_recipient_maps =\nmaximal_backoff_time = 4000s\nproxy_read_maps = proxy:ldap:@DIR@/etc/ldap.cf\ntransport_maps = inline:{"+transports+"}\n"))
	s.write(t, "master.cf", services)
	s.write(t, "ldap.cf", "server_host = ldap://127.0.0.1:1\nsearch_base = dc=x\n")
	s.write(t, "sql.cf", "hosts = inet:127.0.0.1:1\nuser = x\npassword = x\ndbname = x\nquery = SELECT v FROM v WHERE k='%s'\n")
	s.write(t, "memcache.cf", "memcache = inet:127.0.0.1:1\nmax_try = 1\n")
	s.write(t, "sqlite.cf", "dbpath = @DIR@/etc/none/db\nquery = SELECT v FROM v WHERE k='%s'\n")
	s.write(t, "broken.db", strings.Repeat("this is no database\n", 1000))
	s.write(t, "empty.db", "")
	s.start(t)
	for _, port := range ports {
		harness.WaitTCP(t, s.Process, "127.0.0.1:"+port)
	}
	found := make(map[string][]string)
	for _, table := range tables {
		for _, param := range cleanupTables {
			reply := sendLetter(t, "127.0.0.1:"+ports[table.name+"_"+param], "someone@local.test")
			found[table.name] = append(found[table.name], param+": "+reply)
		}
		sendLetter(t, s.SMTP, table.name+"@local.test")
	}
	s.quiet(t)
	for _, line := range s.lines() {
		for _, table := range tables {
			if strings.Contains(line, "to=<"+table.name+"@local.test>") {
				found[table.name] = append(found[table.name], line)
			}
		}
	}
	for _, table := range tables[:5] {
		found["resolver"] = append(found["resolver"], s.failRouting(t, "transport_maps", table.table, table.name+"-queued@local.test"))
	}
	s.run(t, "", "postconf", "-X", "transport_maps")
	for param, domain := range routingTables {
		found[param] = append(found[param], s.failRouting(t, param, "tcp:127.0.0.1:@TCP@", strings.ReplaceAll(param, "_", "-")+"-queued@"+domain))
	}
	for _, line := range s.lines() {
		if strings.Contains(line, "-queued@") && strings.Contains(line, " to=<") {
			found["queued"] = append(found["queued"], line)
		}
	}
	return found
}

// answering starts a server with one answer for all requests, of which each comes in one
// packet, and returns its port. (Postfix asks a server that it cannot reach ten times.)
func answering(t *testing.T, answer string) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for request := make([]byte, 4096); ; {
					if _, err := conn.Read(request); err != nil {
						return
					}
					conn.Write([]byte(answer)) //nolint:errcheck // then the next read fails too
				}
			}()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// routingTables are parameters with tables that trivial-rewrite(8) asks, with a domain whose
// mail they are asked about.
var routingTables = map[string]string{
	"relocated_maps": "local.test",
	"sender_dependent_default_transport_maps": "remote.test",
	"sender_dependent_relayhost_maps":         "remote.test",
	"virtual_alias_domains":                   "remote.test",
	"virtual_mailbox_domains":                 "remote.test",
	"relay_domains":                           "remote.test",
}

// failRouting has a table fail that says where mail goes, for a client, whose reply it returns,
// and for mail that is in the queue already.
func (s *site) failRouting(t *testing.T, param, table, to string) (reply string) {
	s.run(t, "", "postconf", "-e", s.fill(param+" = "+table))
	s.reload(t)
	reply = param + ": " + sendLetter(t, s.SMTP, "someone@"+to[strings.IndexByte(to, '@')+1:])
	harness.Run(t, "Subject: x\n\n", "env", "MAIL_CONFIG="+s.Config, filepath.Join(s.sbin, "sendmail"), "-f", "x@local.test", to)
	s.quiet(t)
	s.run(t, "", "postconf", "-X", param)
	return reply
}

// sendLetter sends a letter and returns the last reply but that to QUIT.
func sendLetter(t *testing.T, addr, to string) (reply string) {
	t.Helper()
	c := dialFrom(t, "127.0.0.1", addr)
	defer c.Close()
	var err error
	for _, command := range []string{"EHLO client.example", "MAIL FROM:<sender@local.test>", "RCPT TO:<" + to + ">", "DATA", letter + "."} {
		if reply, err = c.Ask(command); err != nil {
			t.Fatal(err)
		}
		if reply[0] >= '4' {
			break
		}
	}
	c.Ask("QUIT") //nolint:errcheck // the message has gone
	return queueID.ReplaceAllString(reply, "ID")
}
