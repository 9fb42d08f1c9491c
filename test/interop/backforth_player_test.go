package interop

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A pair is Dovetail and the real Dovecot with the same configuration and the same mail.
type pair struct {
	servers [2]*harness.Mailbox
	read    [2]int // bytes of the logs that were looked at
	users   int    // that were used
}

func serverNames() [2]string { return [2]string{"dovetail", "original"} }

// newPair starts both. With DOVETAIL_CONTROL in the environment both are the real Dovecot: what
// fails then as well is not ours.
func newPair(t harness.TB, opt harness.MailboxOptions) *pair {
	program := harness.Dovetail
	if os.Getenv("DOVETAIL_CONTROL") != "" {
		program = harness.Original
	}
	ours := harness.StartMailbox(t, program, opt)
	opt.Mail = ours.Mail
	p := &pair{servers: [2]*harness.Mailbox{ours, harness.StartMailbox(t, harness.Original, opt)}}
	p.complaints() //nolint:errcheck // of the configuration
	return p
}

var complaint = regexp.MustCompile(`(?m)^.*(?:Error|Warning|Panic|Fatal): .*$`)

// complaints returns the errors and warnings in the logs since the last time.
func (p *pair) complaints() error {
	var all []error
	for i, mb := range p.servers {
		text, err := os.ReadFile(mb.Log)
		if err != nil {
			return err
		}
		fresh := string(text[p.read[i]:])
		p.read[i] = len(text)
		if found := complaint.FindAllString(fresh, -1); len(found) > 0 {
			all = append(all, fmt.Errorf("%s logs:\n%s", serverNames()[i], strings.Join(found, "\n")))
		}
	}
	return errors.Join(all...)
}

// A player plays the turns of a script for one user and keeps beside what must come of it.
type player struct {
	*pair
	user   int
	tree   *tree
	server int
	c      *harness.Client // of this turn
	box    string          // selected
}

// play plays a script for a new user.
func (p *pair) play(t harness.TB, script []turn) error {
	pl := &player{pair: p, user: p.users, tree: newTree(p.servers[0].Location)}
	p.users++
	if err := p.complaints(); err != nil {
		return fmt.Errorf("late: %w", err)
	}
	for n, turn := range script {
		pl.server = turn.server
		if err := pl.turn(t, turn); err != nil {
			return fmt.Errorf("%s, turn %d of %s: %w", harness.User(pl.user), n+1, serverNames()[turn.server], err)
		}
	}
	return nil
}

func (p *player) turn(t harness.TB, script turn) error {
	c, err := harness.Dial(p.servers[p.server].IMAP)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Login(p.user); err != nil {
		return err
	}
	p.c, p.box = c, ""
	for _, o := range script.ops {
		if err := o.do(p, o); err != nil {
			return fmt.Errorf("%v: %w", o, err)
		}
	}
	if _, _, err := c.IMAP("LOGOUT"); err != nil {
		return err
	}
	return p.compare(t)
}

// compare compares what both servers and doveadm show with each other and with the model.
func (p *player) compare(t harness.TB) error {
	var views [2]*view
	for _, i := range []int{p.server, 1 - p.server} {
		v, err := look(p.servers[i], p.user)
		if err != nil {
			return fmt.Errorf("looking at it through %s: %w", serverNames()[i], err)
		}
		if err := p.tree.check(v); err != nil {
			return fmt.Errorf("%s shows: %w", serverNames()[i], err)
		}
		if p.tree.mbox { // whose keywords Dovecot keeps in the header of a message, if it has kept one
			for _, b := range v.Boxes {
				delete(b.Selected, "FLAGS")
			}
		}
		views[i] = v
	}
	for i, v := range views {
		var err error
		if v.POP3, err = uidls(p.servers[i], p.user); err == nil {
			err = p.tree.checkPOP3(v.POP3)
		}
		if err != nil {
			return fmt.Errorf("POP3 of %s: %w", serverNames()[i], err)
		}
	}
	if diff := cmp.Diff(views[1], views[0]); diff != "" {
		return fmt.Errorf("the servers differ (-original +dovetail):\n%s", diff)
	}
	rows, err := fetchRows(t, p.servers[1], p.user)
	if err != nil {
		return err
	}
	if err := p.tree.checkDoveadm(rows); err != nil {
		return err
	}
	p.tree.turned(views[0])
	return p.complaints()
}

var doveadmFields = []string{
	"mailbox", "uid", "flags", "guid", "date.received", "date.sent", "date.saved", "size.physical", "size.virtual",
	"hdr.message-id", "pop3.uidl",
}

// doveadmConstant are those that never change.
var doveadmConstant = []string{
	"guid", "date.received", "date.sent", "date.saved", "size.physical", "size.virtual", "hdr.message-id",
}

// fetchRows returns what the real doveadm shows of all messages of user n.
func fetchRows(t harness.TB, mb *harness.Mailbox, n int) ([]map[string]string, error) {
	out := mb.Doveadm(t, n, "-f", "tab", "fetch", strings.Join(doveadmFields, " "), "all")
	if t.Failed() {
		return nil, fmt.Errorf("doveadm failed")
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	var rows []map[string]string
	for _, line := range lines[min(1, len(lines)):] {
		f := strings.Split(line, "\t")
		if len(f) != len(doveadmFields) {
			return nil, fmt.Errorf("doveadm fetch prints %q", line)
		}
		row := make(map[string]string)
		for i, name := range doveadmFields {
			row[name] = f[i]
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// imap sends a command that must succeed.
func (p *player) imap(command string) ([]string, string, error) {
	untagged, ok, err := p.c.IMAP(command)
	if err != nil {
		return nil, "", fmt.Errorf("%.200s: %w", command, err)
	}
	return untagged, ok, nil
}

// enter selects the mailbox of an operation. It returns nil if there is none.
func (p *player) enter(name string) (*modelBox, error) {
	b := p.tree.boxes[name]
	if b == nil {
		return nil, nil
	}
	command := "SELECT " + quote(name) + " (CONDSTORE)"
	if p.box == name {
		command = "NOOP" // for it to know of deliveries
	}
	_, _, err := p.imap(command)
	p.box = name
	return b, err
}

// decoded returns a mailbox name on the wire as doveadm prints it.
func decoded(name string) string {
	return decodeName.Replace(name)
}

var decodeName = strings.NewReplacer("&APw-", "ü", "&ZeVnLIqe-", "日本語", "&2D3eAA-", "😀", "&-", "&")

// unquoted reads what value has written of a string.
func (p *parser) unquoted() string {
	var s string
	if _, err := fmt.Sscanf(p.rest, "%q", &s); err != nil {
		p.fail("quoted string")
	}
	return s
}
