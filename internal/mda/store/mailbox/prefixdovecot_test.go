package mailbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A prefixDovecot has Dovecot read what operations have left, many at once.
type prefixDovecot struct {
	p         *prefixTest
	complains bool // it may, as long as all messages are there
	list      []*prefixState
}

// A prefixState is a tree for Dovecot, and the mailboxes A and B as they are before and after the
// operation.
type prefixState struct {
	what          string
	root          string
	before, after [2]view
}

func (d *prefixDovecot) add(s *prefixState) {
	d.list = append(d.list, s)
	if len(d.list) == 60 || d.p.op.name == "attachment" { // the directory of attachments is one for all
		d.run()
	}
}

// seen is a message as Dovecot shows it.
type seen struct{ Mailbox, UID, Flags, Text string }

// run asks Dovecot.
func (d *prefixDovecot) run() {
	t := d.p.t
	t.Helper()
	if len(d.list) == 0 {
		return
	}
	all, errs := d.fetch()
	got := make(map[string][]seen)
	for _, m := range all {
		got[m.Mailbox] = append(got[m.Mailbox], m)
	}
	for n, s := range d.list {
		var complaints []string
		for line := range strings.Lines(errs) {
			if strings.Contains(line, s.root+"/") || strings.Contains(line, fmt.Sprintf(" n%d/", n)) {
				complaints = append(complaints, strings.TrimSpace(line))
			}
		}
		if len(complaints) > 0 && !d.complains {
			t.Errorf("%s: Dovecot complains after us: %q", s.what, complaints)
		}
		for i, name := range []string{"A", "B"} {
			d.judge(s.what+": Dovecot: "+name, got[fmt.Sprintf("n%d/%s", n, name)], s.before[i], s.after[i], complaints)
		}
		must(t, os.RemoveAll(s.root))
	}
	d.list = nil
}

// judge compares what Dovecot sees.
func (d *prefixDovecot) judge(what string, got []seen, before, after view, complaints []string) {
	t := d.p.t
	var texts []string
	for _, m := range got {
		text := strings.ReplaceAll(m.Text, "\r\n", "\n")
		if d.p.format == "mbox" && d.complains { // what is not finished begins so, and Dovecot takes it for more text
			text, _, _ = strings.Cut(text, "\n\x00\x00\x00\x00\x00")
		}
		texts = append(texts, text)
		inBefore, inAfter := slices.Index(before.texts, text), slices.Index(after.texts, text)
		if inBefore < 0 && inAfter < 0 && !(d.complains && text == bodyOf("A4")) { // was expunged, and its space not purged
			t.Errorf("%s: %.60q; %q", what, text, complaints)
		}
		if !d.complains {
			r := after.rows[max(inAfter, 0)]
			flags, keywords := parseFlags(m.Flags)
			if fmt.Sprint(r.UID) != m.UID || r.Flags != flags || r.Keywords != keywords {
				t.Errorf("%s: %.60q: uid %s, flags %s, want %v", what, text, m.UID, m.Flags, r)
			}
		}
	}
	for _, text := range before.texts {
		if slices.Contains(after.texts, text) && !slices.Contains(texts, text) {
			t.Errorf("%s: %.60q is lost; %q", what, text, complaints)
		}
	}
	if !d.complains && len(got) != len(after.texts) {
		t.Errorf("%s: %d messages, want %d", what, len(got), len(after.texts))
	}
}

// fetch has doveadm print all messages of all trees.
func (d *prefixDovecot) fetch() (all []seen, errs string) {
	t, p := d.p.t, d.p
	home, err := os.MkdirTemp(p.dir, "h")
	must(t, err)
	defer os.RemoveAll(home)
	var conf strings.Builder
	fmt.Fprintf(&conf, "base_dir = %s/run\nlog_path = /dev/stderr\nmail_location = %s:%s/mail\nfirst_valid_uid = 0\nssl = no\n", home, p.driver(), home)
	fmt.Fprint(&conf, "mbox_write_locks = fcntl dotlock\nnamespace {\n inbox = yes\n separator = /\n}\n")
	for n, s := range d.list {
		location := p.driver() + ":" + s.root
		if strings.HasPrefix(p.op.name, "ALT") {
			location += ":ALT=" + s.root + "/alt:ALTNOCHECK"
		}
		fmt.Fprintf(&conf, "namespace {\n prefix = n%d/\n separator = /\n location = %s\n}\n", n, location)
		if p.op.name == "attachment" {
			fmt.Fprintf(&conf, "mail_attachment_dir = %s/attachments\nmail_attachment_fs = sis posix\nmail_attachment_min_size = 1000\n", s.root)
		}
	}
	file := filepath.Join(home, "dovecot.conf")
	must(t, os.WriteFile(file, []byte(conf.String()), 0o644))
	must(t, os.Chown(home, unprivileged, unprivileged))
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limit, "doveadm", "-c", file, "-f", "json", "fetch", "mailbox uid flags text", "ALL")
	cmd.Env = append(os.Environ(), "HOME="+home, "USER=tester")
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: unprivileged, Gid: unprivileged}}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !d.complains {
		t.Errorf("doveadm: %v\n%s", err, stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), &all); err != nil {
		t.Fatalf("doveadm: %v\n%s\n%s", err, stderr.String(), stdout.String())
	}
	return all, stderr.String()
}

func (p *prefixTest) driver() string { return (&world{format: p.format}).driver() }
