package asuser

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// testServer is a server with a service of each program, that could only refuse.
func testServer(t *testing.T, settings string) *session {
	t.Helper()
	main, err := postfix.Parse("/etc/postfix", "myhostname = mail.example.com\nmydomain = example.com\n"+settings)
	if err != nil {
		t.Fatal(err)
	}
	log := maillog.NewFunc(func(maillog.Level, string) {})
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		t.Fatal(err)
	}
	setup := &Setup{Core: core, Owner: master.Identity{Change: true, UID: 4711, GID: 4711}, Services: make(map[string]*Service)}
	for _, e := range []*postfix.ServiceEntry{
		{Name: "local", Command: "local"}, {Name: "virtual", Command: "virtual"},
		{Name: "pipe", Command: "pipe", Args: strings.Fields("user=daemon argv=/bin/true $recipient")},
		{Name: "rootpipe", Command: "pipe", Args: strings.Fields("user=root argv=/bin/true")},
	} {
		if setup.Services[e.Name], err = NewService(main, e, log); err != nil {
			t.Fatal(err)
		}
	}
	s := &server{p: &master.Process{Log: log}, users: &users{}, pool: &pool{idle: make(map[rights][]*helper)}}
	s.setup.Store(setup)
	return &session{server: s, gone: make(chan struct{}), running: make(map[uint64]chan struct{})}
}

// What the configuration does not allow is not done, whoever asks.
func TestRefused(t *testing.T) {
	s := testServer(t, "virtual_mailbox_base = /srv/mail\nallow_mail_to_files =\nallow_mail_to_commands =\n")
	content, err := os.Create(filepath.Join(t.TempDir(), "message"))
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	for _, tt := range []struct {
		name string
		req  Request
		want string
	}{
		{"operation", Request{Op: "shell"}, "unknown operation"},
		{"service", Request{Op: OpMailbox, Service: "none", User: "root"}, "no service none for local"},
		{"service of another program", Request{Op: OpCommand, Service: "pipe", Command: "id"}, "no service pipe for local"},
		{"command", Request{Op: OpCommand, Service: "local", Command: "id"}, "allows no commands"},
		{"file", Request{Op: OpFile, Service: "local", Path: "/tmp/x"}, "allow_mail_to_files"},
		{"relative file", Request{Op: OpFile, Service: "local", Path: "x"}, "not an absolute path"},
		{"mailbox of nobody", Request{Op: OpMailbox, Service: "local", User: "../root"}, "no such user"},
		{"virtual as root", Request{Op: OpVirtual, Service: "virtual", Path: "/srv/mail/x", UID: 0, GID: 8}, "virtual_minimum_uid"},
		{"virtual with root's group", Request{Op: OpVirtual, Service: "virtual", Path: "/srv/mail/x", UID: 1000}, "gid 0"},
		{"virtual elsewhere", Request{Op: OpVirtual, Service: "virtual", Path: "/etc/passwd", UID: 1000, GID: 1000}, "not below"},
		{"virtual beside", Request{Op: OpVirtual, Service: "virtual", Path: "/srv/mailboxes", UID: 1000, GID: 1000}, "not below"},
		{"virtual above", Request{Op: OpVirtual, Service: "virtual", Path: "/srv/mail/../x", UID: 1000, GID: 1000}, "not below"},
		{"another program", Request{Op: OpPipe, Service: "pipe", Argv: []string{"/bin/sh", "-c", "id"}}, "nothing else"},
		{"no program", Request{Op: OpPipe, Service: "pipe"}, "nothing else"},
		{"program as root", Request{Op: OpPipe, Service: "rootpipe", Argv: []string{"/bin/true"}}, "root privileges"},
		{"relative include", Request{Op: OpInclude, Service: "local", Path: "list"}, "relative path"},
	} {
		var r Reply
		f := s.answer(&tt.req, content, &r)
		if f != nil || !strings.Contains(r.Error, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, r.Error, tt.want)
		}
	}
	var r Reply
	if s.answer(&Request{Op: OpMailbox, Service: "local", User: "root"}, nil, &r); r.Error != "request without message" {
		t.Errorf("no message: %q", r.Error)
	}
}

// Root reads what root's alias databases lead to, and nothing else.
func TestIncludes(t *testing.T) {
	dir := t.TempDir()
	outer, inner, other := filepath.Join(dir, "outer"), filepath.Join(dir, "inner"), filepath.Join(dir, "other")
	for path, text := range map[string]string{outer: "joe, :include:" + inner + "\n", inner: "jane\n", other: "root:x\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := testServer(t, "alias_maps = inline:{list=:include:"+outer+"} static:nobody\n")
	in := s.setup.Load().Services["local"].grants
	for _, tt := range []struct {
		via  []string
		path string
		ok   bool
	}{
		{[]string{"list"}, outer, true},
		{[]string{"list", outer}, inner, true},
		{nil, outer, false},
		{[]string{"list"}, inner, false},
		{[]string{"list"}, other, false},
		{[]string{"nolist"}, outer, false},
		{[]string{"list", other}, inner, false},
		{[]string{"list", outer, inner}, other, false},
		{[]string{"list"}, "/etc/shadow", false},
	} {
		if err := in.check(context.Background(), tt.via, tt.path); (err == nil) != tt.ok {
			t.Errorf("%v %s: %v", tt.via, tt.path, err)
		}
	}
}

func TestPasswd(t *testing.T) {
	u, err := (&users{}).byName(t.Context(), "root")
	if err != nil || u == nil || u.UID != 0 || u.Shell == "" {
		t.Errorf("%+v %v", u, err)
	}
	for _, name := range []string{"", "../root", "no such user", "a:b"} {
		if u, err := (&users{}).byName(t.Context(), name); u != nil || err != nil {
			t.Errorf("%q: %+v %v", name, u, err)
		}
	}
}
