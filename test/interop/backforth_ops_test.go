package interop

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// sets returns messages chosen by an operation, and their uids as a set.
func (o op) sets(b *modelBox) (chosen []*modelMail, uids []uint32, set string) {
	if b == nil {
		return nil, nil, ""
	}
	chosen = b.some(o.pick)
	var words []string
	for _, m := range chosen {
		uids = append(uids, m.uid)
		words = append(words, fmt.Sprint(m.uid))
	}
	return chosen, uids, strings.Join(words, ",")
}

func flagSet(words string) map[string]bool {
	set := make(map[string]bool)
	for _, f := range strings.Fields(words) {
		set[f] = true
	}
	return set
}

// appended checks the response code of an APPEND against the uids that must have been given.
func (b *modelBox) appended(ok string, first uint32) error {
	last := b.uidnext - 1
	want := fmt.Sprint(first)
	if last > first {
		want = fmt.Sprintf("%d:%d", first, last)
	}
	var validity uint64
	var set string
	if _, err := fmt.Sscanf(ok, "[APPENDUID %d %s", &validity, &set); err != nil || strings.TrimSuffix(set, "]") != want {
		return fmt.Errorf("the answer is %q, want uid %s", ok, want)
	}
	return b.valid(validity)
}

func (b *modelBox) valid(uidvalidity uint64) error {
	if b.uidvalidity == 0 {
		b.uidvalidity = uidvalidity
	}
	if b.uidvalidity != uidvalidity {
		return fmt.Errorf("UIDVALIDITY is %d, want %d", uidvalidity, b.uidvalidity)
	}
	return nil
}

func (p *player) append(o op) error { return p.appendSome(o, 1) }

func (p *player) multiAppend(o op) error { return p.appendSome(o, 2+int(o.pick%3)) }

func (p *player) appendSome(o op, n int) error {
	b := p.tree.boxes[o.box]
	if b == nil {
		return nil
	}
	if p.careful() {
		n = 1
	}
	first := b.uidnext
	var command strings.Builder
	command.WriteString("APPEND " + quote(o.box))
	for i := range uint64(n) {
		text, date := someText(o.pick+i), someDate(o.pick+i)
		fmt.Fprintf(&command, " (%s) \"%s\" {%d+}\r\n%s", o.flags, date.Format(internalDate), len(text), text)
		b.add(p.tree.newMail(text, date, flagSet(o.flags)))
	}
	_, ok, err := p.imap(command.String())
	if err != nil {
		return err
	}
	return b.appended(ok, first)
}

func (p *player) deliver(o op) error {
	if p.careful() {
		return nil
	}
	if err := p.alone(); err != nil {
		return err
	}
	c, err := harness.Dial(p.servers[p.server].LMTP)
	if err != nil {
		return err
	}
	defer c.Close()
	text := someText(o.pick)
	if !strings.HasSuffix(text, "\r\n") {
		text += "\r\n"
	}
	stuffed := strings.ReplaceAll("\n"+text, "\n.", "\n..")[1:]
	for _, step := range []struct{ command, want string }{
		{"LHLO client.example.org", "250"}, {"MAIL FROM:<sender@example.org>", "250"}, {"RCPT TO:<" + harness.User(p.user) + ">", "250"},
		{"DATA", "354"}, {stuffed + ".", "250"}, {"QUIT", "221"},
	} {
		if reply, err := c.Ask(step.command); err != nil || !strings.HasPrefix(reply, step.want) {
			return fmt.Errorf("%.40q: %s, %v", step.command, reply, err)
		}
	}
	p.tree.boxes["INBOX"].add(&modelMail{ends: text, flags: map[string]bool{}})
	return nil
}

func (p *player) store(o op, how string, change func(has, these map[string]bool)) error {
	b, err := p.enter(o.box)
	if err != nil {
		return err
	}
	chosen, _, set := o.sets(b)
	if len(chosen) == 0 {
		return nil
	}
	silent := ""
	if o.pick%2 == 0 {
		silent = ".SILENT"
	}
	for _, m := range chosen {
		change(m.flags, flagSet(o.flags))
		m.touched = true
	}
	_, _, err = p.imap(fmt.Sprintf("UID STORE %s %sFLAGS%s (%s)", set, how, silent, o.flags))
	return err
}

func (p *player) addFlags(o op) error {
	return p.store(o, "+", func(has, these map[string]bool) {
		for f := range these {
			has[f] = true
		}
	})
}

func (p *player) removeFlags(o op) error {
	return p.store(o, "-", func(has, these map[string]bool) {
		for f := range these {
			delete(has, f)
		}
	})
}

func (p *player) setFlags(o op) error {
	return p.store(o, "", func(has, these map[string]bool) {
		clear(has)
		for f := range these {
			has[f] = true
		}
	})
}

func (p *player) copy(o op) error { return p.transfer(o, "COPY") }

func (p *player) move(o op) error { return p.transfer(o, "MOVE") }

var copyUID = regexp.MustCompile(`\[COPYUID (\d+) (\S+) (\S+)\]`)

func (p *player) transfer(o op, command string) error {
	to := p.tree.boxes[o.to]
	b, err := p.enter(o.box)
	if err != nil {
		return err
	}
	chosen, uids, set := o.sets(b)
	if len(chosen) > 1 && p.careful() {
		chosen, uids, set = chosen[:1], uids[:1], fmt.Sprint(uids[0])
	}
	if len(chosen) == 0 || to == nil || command == "MOVE" && to == b {
		return nil
	}
	untagged, ok, err := p.imap(fmt.Sprintf("UID %s %s %s", command, set, quote(o.to)))
	if err != nil {
		return err
	}
	var created []uint32
	for _, m := range chosen {
		created = append(created, to.uidnext)
		to.add(p.tree.copyOf(m))
	}
	if command == "MOVE" {
		b.remove(uids)
	}
	found := copyUID.FindStringSubmatch(strings.Join(append(untagged, ok), "\n"))
	if found == nil {
		return fmt.Errorf("no COPYUID in %q, %q", untagged, ok)
	}
	if !slices.Equal(expand(found[2]), uids) || !slices.Equal(expand(found[3]), created) {
		return fmt.Errorf("%s, want %d and %d", found[0], uids, created)
	}
	var validity uint64
	fmt.Sscan(found[1], &validity)
	return to.valid(validity)
}

// expand returns the uids of a set.
func expand(set string) (uids []uint32) {
	for part := range strings.SplitSeq(set, ",") {
		var from, to uint32
		if n, _ := fmt.Sscanf(part, "%d:%d", &from, &to); n < 2 {
			to = from
		}
		for uid := from; uid <= to; uid++ {
			uids = append(uids, uid)
		}
	}
	return uids
}

func (p *player) expunge(o op) error {
	b, err := p.enter(o.box)
	if err != nil {
		return err
	}
	chosen, uids, set := o.sets(b)
	if len(chosen) == 0 {
		return nil
	}
	if _, _, err := p.imap("UID STORE " + set + ` +FLAGS.SILENT (\Deleted)`); err != nil {
		return err
	}
	b.remove(uids)
	_, _, err = p.imap("UID EXPUNGE " + set)
	return err
}

// read fetches texts, which sets \Seen.
func (p *player) read(o op) error {
	b, err := p.enter(o.box)
	if err != nil {
		return err
	}
	chosen, _, set := o.sets(b)
	if len(chosen) == 0 {
		return nil
	}
	for _, m := range chosen {
		m.flags[`\Seen`], m.touched = true, true
	}
	_, _, err = p.imap("UID FETCH " + set + " (ENVELOPE BODY[TEXT])")
	return err
}

func (p *player) create(o op) error {
	if !p.tree.free(o.box) {
		return nil
	}
	p.tree.boxes[o.box] = &modelBox{uidnext: 1}
	_, _, err := p.imap("CREATE " + quote(o.box))
	return err
}

// fixed are mailboxes that are made again by themselves.
var fixed = []string{"INBOX", "Drafts", "Archive"}

func (p *player) delete(o op) error {
	if p.tree.boxes[o.box] == nil || slices.Contains(fixed, o.box) {
		return nil
	}
	if err := p.leave(o.box); err != nil {
		return err
	}
	delete(p.tree.boxes, o.box)
	_, _, err := p.imap("DELETE " + quote(o.box))
	return err
}

// leave closes the selected mailbox if an operation is about it or what is below.
func (p *player) leave(name string) error {
	if p.box == "" || p.box != name && !strings.HasPrefix(p.box, name+"/") {
		return nil
	}
	p.box = ""
	_, _, err := p.imap("UNSELECT")
	return err
}

// careful reports whether this is Dovecot with an mbox: after one of its processes has saved several
// messages, or while one has it selected, the others give out the same uids again.
func (p *player) careful() bool {
	return p.tree.mbox && p.servers[p.server].Program == harness.Original
}

// alone closes the selected mailbox if it is an mbox.
func (p *player) alone() error {
	if !p.tree.mbox || p.box == "" {
		return nil
	}
	return p.leave(p.box)
}

func (p *player) rename(o op) error {
	below := p.tree.children(o.box)
	if p.tree.boxes[o.box] == nil || slices.Contains(fixed, o.box) || len(p.tree.children(o.to)) > 0 || !p.tree.free(o.to) || strings.HasPrefix(o.to, o.box+"/") {
		return nil
	}
	if err := p.leave(o.box); err != nil {
		return err
	}
	_, _, err := p.imap("RENAME " + quote(o.box) + " " + quote(o.to))
	for _, name := range below {
		p.tree.boxes[o.to+strings.TrimPrefix(name, o.box)] = p.tree.boxes[name]
		delete(p.tree.boxes, name)
	}
	return err
}

func (p *player) subscribe(o op) error {
	if p.tree.boxes[o.box] == nil {
		return nil
	}
	p.tree.subscribed[o.box] = true
	_, _, err := p.imap("SUBSCRIBE " + quote(o.box))
	return err
}

func (p *player) unsubscribe(o op) error {
	if !p.tree.subscribed[o.box] || o.box == "Drafts" {
		return nil
	}
	delete(p.tree.subscribed, o.box)
	_, _, err := p.imap("UNSUBSCRIBE " + quote(o.box))
	return err
}

func (p *player) popDelete(o op) error {
	b := p.tree.boxes["INBOX"]
	chosen, uids, _ := o.sets(b)
	if len(chosen) == 0 {
		return nil
	}
	if err := p.alone(); err != nil {
		return err
	}
	c, err := pop3(p.servers[p.server], p.user)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, m := range chosen {
		if reply, err := c.Ask(fmt.Sprintf("DELE %d", 1+slices.Index(b.messages, m))); err != nil || !strings.HasPrefix(reply, "+OK") {
			return fmt.Errorf("DELE: %s, %v", reply, err)
		}
	}
	if reply, err := c.Ask("QUIT"); err != nil || !strings.HasPrefix(reply, "+OK") {
		return fmt.Errorf("QUIT: %s, %v", reply, err)
	}
	b.remove(uids)
	_, _, err = p.imap("NOOP")
	return err
}
