package imap

import (
	"fmt"
	"strings"
)

// pick returns one of list.
func (c *stressClient) pick(list ...string) string { return list[c.rand.IntN(len(list))] }

// step does something at random.
func (c *stressClient) step() error {
	if c.box == "" || c.rand.IntN(25) == 0 {
		return c.choose()
	}
	switch n := c.rand.IntN(20); {
	case n == 0, len(c.msgs) == 0:
		return c.do(c.appends())
	case n < 4:
		return c.inBox()
	case n < 6:
		return c.elsewhere()
	case n == 6:
		return c.leave()
	}
	return c.onMessages()
}

func (c *stressClient) appends() string {
	m := fmt.Sprintf("Subject: s%d\r\n\r\nabc %s\r\n", c.rand.IntN(5), strings.Repeat("x", c.rand.IntN(50)))
	one := fmt.Sprintf(" (%s) {%d+}\r\n%s", c.flags(), len(m), m)
	return "APPEND " + stressBox(c.rand.IntN(stressBoxes)) + c.pick(one, one, one+one)
}

func (c *stressClient) flags() string {
	return c.pick(`\Seen`, `\Flagged`, `\Answered kw1`, "kw2", `\Deleted`, `\Deleted`, `\Draft`, "")
}

// inBox is a command about the whole mailbox.
func (c *stressClient) inBox() error {
	switch c.rand.IntN(6) {
	case 0:
		return c.do("EXPUNGE")
	case 1:
		return c.do("CHECK")
	case 2:
		return c.do("IDLE")
	case 3:
		return c.fetchAll()
	case 4: // with NONE the numbers change without a word, with SELECTED at any time (RFC 5465 3, 6.1)
		return c.do("NOTIFY SET (SELECTED-DELAYED (MessageNew MessageExpunge FlagChange))")
	}
	return c.do("NOOP")
}

// fetchAll fetches all messages: each that the client knows of has one row.
func (c *stressClient) fetchAll() error {
	n := len(c.msgs)
	if c.uidOnly {
		return c.do("UID FETCH 1:* (FLAGS)")
	}
	if err := c.run("FETCH 1:* (UID FLAGS)"); err != nil {
		return err
	}
	if c.rows < n {
		return fmt.Errorf("%d rows of %d messages", c.rows, n)
	}
	return c.do("NOOP")
}

// elsewhere is a command about other mailboxes, or none.
func (c *stressClient) elsewhere() error {
	box, own := stressBox(c.rand.IntN(stressBoxes)), fmt.Sprintf("own%d", c.number)
	if c.rand.IntN(6) == 0 {
		for _, line := range []string{"CREATE " + own, "RENAME " + own + " " + own + "x", "SUBSCRIBE " + own + "x", "DELETE " + own + "x"} {
			if err := c.do(line); err != nil {
				return err
			}
		}
		return c.do("UNSUBSCRIBE " + own + "x")
	}
	return c.do(c.pick("STATUS "+box+" (MESSAGES UIDNEXT UNSEEN SIZE)", `LIST "" box% RETURN (CHILDREN)`, `LSUB "" *`, "NAMESPACE", "CAPABILITY", "ID NIL",
		`LIST "" box* RETURN (STATUS (MESSAGES))`, "ESEARCH IN (MAILBOXES ("+box+" box0)) RETURN (COUNT) SEEN", "ENABLE X"))
}

// leave leaves the mailbox. CLOSE expunges.
func (c *stressClient) leave() error {
	err := c.run(c.pick("CLOSE", "UNSELECT"))
	c.box, c.msgs = "", nil
	return err
}

// onMessages is a command with messages.
func (c *stressClient) onMessages() error {
	n := 1 + c.rand.IntN(len(c.msgs))
	last := min(n+c.rand.IntN(3), len(c.msgs))
	set, uid := fmt.Sprintf("%d:%d", n, last), ""
	known := c.msgs[n-1].uid != "" && c.msgs[last-1].uid != ""
	if c.uidOnly && !known {
		return c.do("NOOP")
	}
	if known && (c.uidOnly || c.rand.IntN(2) == 0) {
		set, uid = c.msgs[n-1].uid+":"+c.msgs[last-1].uid, "UID "
	}
	box := stressBox(c.rand.IntN(stressBoxes))
	switch c.rand.IntN(14) {
	case 0:
		return c.do(uid + "COPY " + set + " " + box)
	case 1:
		return c.do(uid + "MOVE " + set + " " + box)
	case 2, 3:
		return c.do(uid + "FETCH " + set + " " + c.pick("(FLAGS BODY[])", "FLAGS", "(UID ENVELOPE)", "BODYSTRUCTURE", "(PREVIEW MODSEQ)", "BODY.PEEK[TEXT]<1.5>", "BINARY.PEEK[1]"))
	case 4:
		return c.do(uid + "SEARCH " + c.pick("", "RETURN (ALL) ", "RETURN (SAVE) ") + c.pick("SEEN", "SUBJECT s1", "BODY abc", "NOT DELETED", "KEYWORD kw1"))
	case 5:
		return c.do(uid + c.pick("SORT (SUBJECT ARRIVAL)", "THREAD REFERENCES", "SORT (REVERSE SIZE)") + " UTF-8 " + c.pick("ALL", "UNSEEN"))
	case 6:
		if known {
			return c.do("UID EXPUNGE " + c.msgs[n-1].uid + ":" + c.msgs[last-1].uid)
		}
	case 7:
		m := "Subject: new\r\n\r\nabc\r\n"
		one, _, _ := strings.Cut(set, ":")
		return c.do(fmt.Sprintf("%sREPLACE %s %s {%d+}\r\n%s", uid, one, c.box, len(m), m))
	}
	return c.do(uid + "STORE " + set + " " + c.pick("+", "-", "+", "") + "FLAGS" + " (" + c.flags() + ")")
}
