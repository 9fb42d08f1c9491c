package imap

import (
	"encoding/hex"
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// maxURLs is how many URLs a command may have.
const maxURLs = 1000

var errNoURLAuth = bad("URLAUTH disabled.")

// genURLAuth is GENURLAUTH (RFC 4467 8).
func (c *command) genURLAuth() error {
	if !c.hasURLAuth() {
		return errNoURLAuth
	}
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	var urls []string
	for ; len(args) > 0; args = args.Rest() {
		rump, ok := args[0].AString()
		if args = args.Rest(); !ok || len(args) == 0 || args[0].Kind != imapwire.Atom || len(urls) == maxURLs {
			return errArguments
		}
		if !strings.EqualFold(string(args[0].Data), urlauthMechanism) {
			return bad("Unsupported URLAUTH mechanism: " + string(args[0].Data))
		}
		full, err := c.authorize(string(rump))
		if wrong := urlError(""); errors.As(err, &wrong) {
			return bad(err.Error())
		}
		if err != nil {
			return err
		}
		urls = append(urls, full)
	}
	b := append(c.buf(), "* GENURLAUTH"...)
	for _, u := range urls {
		b = imapwire.AppendAString(append(b, ' '), u)
	}
	return c.put(append(b, "\r\n"...))
}

// authorize adds the token to a rump.
func (c *command) authorize(rump string) (string, error) {
	u, err := parseAuthURL(rump)
	if err == nil {
		if err := c.mayGenerate(u); err != nil {
			return "", err
		}
		var p *urlPart
		if p, err = c.openPart(&u.messageURL); err == nil {
			p.close()
		}
	}
	if wrong := urlError(""); errors.As(err, &wrong) {
		return "", urlError("Invalid URL: " + err.Error())
	}
	if err != nil {
		return "", err
	}
	key, err := c.makeMailboxKey(u.mailbox)
	if err != nil {
		return "", err
	}
	return rump + ":" + strings.ToLower(urlauthMechanism) + ":" + hex.EncodeToString(urlauthToken(u.rump, key)), nil
}

// hasURLAuth reports whether URLs can be authorized here.
func (s *session) hasURLAuth() bool { return s.set.URLAuthHost != "" && s.srv.has.attributes }

// resetKey is RESETKEY (RFC 4467 8): the URLs of one mailbox, or of all, are worth nothing any more.
func (c *command) resetKey() error {
	if !c.hasURLAuth() {
		return errNoURLAuth
	}
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		c.text = "All keys removed."
		return c.resetAllKeys()
	}
	name, err := c.mailboxName(args)
	if err != nil {
		return err
	}
	for args = args.Rest(); len(args) > 0; args = args.Rest() {
		mechanism, ok := args[0].AString()
		if !ok {
			return errArguments
		}
		if !strings.EqualFold(string(mechanism), urlauthMechanism) {
			return &reply{cond: condNo, text: "Unsupported URLAUTH mechanism."}
		}
	}
	c.code = "[URLMECH INTERNAL] "
	return c.user.UnsetMetadata(c.ctx, store.Attribute{Mailbox: name, Key: urlauthKey})
}

func (c *command) resetAllKeys() error {
	entries, err := c.user.List(c.ctx, store.ListQuery{Patterns: []string{"*"}, Return: store.ReturnChildren})
	if err != nil {
		return err
	}
	for i := range entries {
		if entries[i].Flags&(store.FlagNoSelect|store.FlagNonExistent) != 0 {
			continue
		}
		err := c.user.UnsetMetadata(c.ctx, store.Attribute{Mailbox: entries[i].Name, Key: urlauthKey})
		var se *store.Error
		if err != nil && (!errors.As(err, &se) || se.Code != store.CodeNonExistent && se.Code != store.CodeNoPerm) {
			return err
		}
	}
	return nil
}
