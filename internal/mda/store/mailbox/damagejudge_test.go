package mailbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// judge returns what is wrong with an outcome.
func (s *sample) judge(t *testing.T, o *outcome) string {
	if s.isMbox(o.wound.file) {
		return s.judgeMbox(t, o)
	}
	if o.err != nil {
		if s.format == "mbox" && o.wound.kind == "symlink to itself" && errors.Is(o.err, unix.ELOOP) {
			return "" // nobody leaves such a thing there by accident; the error tells
		}
		return o.err.Error()
	}
	if len(o.second) > 0 || o.later != "" {
		return "it has to be repaired twice"
	}
	if len(o.first) > 4 {
		return "too many lines are logged"
	}
	a, b := s.a.clone(), s.b.clone()
	a.rows, a.texts = append(a.rows, row{o.saved.UID, Seen, ""}), append(a.texts, bodyOf("new"))
	b.rows, b.texts = append(b.rows, row{4, 0, ""}), append(b.texts, bodyOf("new"))
	ca, cb := differ(a, o.a), differ(b, o.b)
	// By the order of names in the tree.
	if strings.Contains(o.wound.file, "storage/") {
		return judgeStorage(o.wound, &ca) + judgeStorage(o.wound, &cb)
	}
	if s.hurtsB(o.wound) {
		ca, cb = cb, ca
	}
	if !cb.none() {
		return "the other mailbox:" + cb.String()
	}
	return s.judgeBox(o.wound, &ca)
}

// hurtsB tells whether a wound is of the mailbox B.
func (s *sample) hurtsB(w *wound) bool {
	return strings.Contains("/"+w.file, "/B/") || strings.Contains("/"+w.file, "/.B/") || s.isMbox(w.file) && w.file == "B"
}

// isMbox tells whether a file is an mbox.
func (s *sample) isMbox(file string) bool { return s.format == "mbox" && (file == "A" || file == "B") }

// isMail tells whether a file has the text of messages.
func isMail(file string) bool {
	base := filepath.Base(file)
	return strings.HasPrefix(base, "u.") || strings.HasPrefix(base, "m.") || strings.Contains(file, "/cur/") || strings.Contains(file, "/new/")
}

func judgeStorage(w *wound, c *change) string {
	allowed := change{}
	switch {
	case isMail(w.file): // what is gone is gone
		allowed.Lost, allowed.Extra = c.Lost, c.Extra
		if w.kind == "bit flipped" && len(c.Lost) > 1 || w.kind == "no permission" && len(c.Lost) > 0 {
			allowed.Lost = nil
		}
	default: // what was expunged and not purged comes back
		for _, text := range c.Extra {
			if text == bodyOf("A4") || text == bodyOf("A5") {
				allowed.Extra = append(allowed.Extra, text)
			}
		}
	}
	return exceeds(c, &allowed)
}

func (s *sample) judgeBox(w *wound, c *change) string {
	flipped := w.kind == "bit flipped"
	allowed := change{}
	switch base := filepath.Base(w.file); {
	case isMail(w.file):
		if w.kind != "no permission" && len(c.Lost) <= 1 && len(c.Extra) <= 1 {
			allowed.Lost, allowed.Extra = c.Lost, c.Extra
		}
	case base == "dovecot.index" && flipped: // there are no checksums
		if s.format == "mbox" { // and the offsets of messages with neither date nor id can be mixed up
			allowed.Lost, allowed.Extra = c.Lost, c.Extra
		}
		allowed.Validity, allowed.GUID, allowed.UIDs, allowed.Flags = true, true, true, true
	case base == "dovecot.index.log" && w.kind != "symlink" && w.kind != "no permission":
		allowed.Flags = s.format != "maildir" || flipped
		allowed.UIDs = s.format == "mdbox" || flipped
		if s.format == "mbox" && flipped { // they are in records there
			allowed.GUID, allowed.Validity = true, true
		}
		if s.format == "mdbox" && slices.Equal(c.Extra, []string{bodyOf("A5")}) {
			allowed.Extra = c.Extra
		}
		if s.format == "mdbox" && w.kind == "stale" {
			allowed.Lost = []string{bodyOf("A6")} // it is there for force-resync
		}
	case base == "dovecot-uidlist" && w.kind != "symlink" && w.kind != "no permission":
		allowed = change{UIDs: true, GUID: true, Validity: flipped}
	case base == "dovecot-keywords" && flipped:
		allowed.Flags = true
	}
	return exceeds(c, &allowed)
}

// exceeds says what is changed that must not be.
func exceeds(c, allowed *change) string {
	if c.Validity && !allowed.Validity || c.GUID && !allowed.GUID || c.UIDs && !allowed.UIDs || c.Flags && !allowed.Flags ||
		len(c.Lost) > len(allowed.Lost) || len(c.Extra) > len(allowed.Extra) {
		return c.String()
	}
	return ""
}

// A dovecotJudge has Dovecot read many trees at once.
type dovecotJudge struct {
	t    *testing.T
	s    *sample
	list []*outcome
}

func (d *dovecotJudge) add(o *outcome) {
	if d.list = append(d.list, o); len(d.list) == 50 {
		d.run()
	}
}

func (d *dovecotJudge) run() {
	d.t.Helper()
	defer func() {
		for _, o := range d.list {
			os.RemoveAll(o.root)
		}
		d.list = nil
	}()
	dv := newDoveadm(d.t, &world{t: d.t, root: d.t.TempDir(), format: d.s.format})
	f, err := os.OpenFile(dv.conf, os.O_WRONLY|os.O_APPEND, 0)
	must(d.t, err)
	fmt.Fprint(f, "namespace {\n inbox = yes\n separator = /\n}\n")
	for n, o := range d.list {
		fmt.Fprintf(f, "namespace {\n prefix = n%d/\n separator = /\n location = %s:%s\n}\n", n, (&world{format: d.s.format}).driver(), o.root)
	}
	f.Close()
	out, errs, err := dv.try("", "-f", "tab", "fetch", "mailbox uid flags guid size.physical", "ALL")
	errs = derived.ReplaceAllString(errs, "")
	if errs != "" || err != nil {
		for n, o := range d.list {
			if strings.Contains(errs, o.root) || strings.Contains(errs, fmt.Sprintf(" n%d/", n)) {
				d.t.Errorf("%v: Dovecot complains", o.wound)
			}
		}
		d.t.Errorf("doveadm: %v\n%s", err, errs)
	}
	got := make(map[string][]row)
	for _, line := range strings.Split(out, "\n")[1:] {
		var name string
		var r row
		if f := strings.Split(line, "\t"); len(f) >= 3 {
			name = f[0]
			fmt.Sscan(f[1], &r.UID)
			r.Flags, r.Keywords = parseFlags(f[2])
			got[name] = append(got[name], r)
		}
	}
	for n, o := range d.list {
		for name, want := range map[string][]row{"A": o.a.rows, "B": o.b.rows} {
			if have := got[fmt.Sprintf("n%d/%s", n, name)]; !slices.Equal(have, want) {
				d.t.Errorf("%v: Dovecot sees in %s %v, we %v", o.wound, name, have, want)
			}
		}
	}
}

// derived are complaints about values that Dovecot can compute again, and does.
var derived = regexp.MustCompile(`(?m)^.*(vsize-hdr has invalid|Deleting corrupted cache).*\n`)

// parseFlags reads the flags that doveadm prints.
func parseFlags(words string) (flags Flags, keywords string) {
	var rest []string
	for _, word := range strings.Fields(words) {
		if word == `\Recent` {
			continue
		}
		i := slices.IndexFunc(flagNames, func(f struct {
			flag Flags
			name string
		}) bool {
			return f.name == word
		})
		if i >= 0 {
			flags |= flagNames[i].flag
		} else {
			rest = append(rest, word)
		}
	}
	return flags, sortWords(strings.Join(rest, " "))
}
