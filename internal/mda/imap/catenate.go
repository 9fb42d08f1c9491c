package imap

import (
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// catenation returns the arguments before CATENATE and those of its list, if that is what a message of
// APPEND is (RFC 4469).
func catenation(args imapwire.Args) (before, list imapwire.Args, ok bool) {
	for i := 0; i+1 < len(args); {
		next := len(args) - len(args[i:].Rest())
		if next < len(args) && args[i].Is("CATENATE") && args[next].Kind == imapwire.List {
			return args[:i], args[next:].List(), true
		}
		i = next
	}
	return nil, nil, false
}

// catenate saves a message that is made of texts and of what URLs mean. list is what was read of its
// parts; more says that a literal follows.
func (a *appending) catenate(opt mailbox.SaveOptions, list imapwire.Args, more bool) error {
	if len(list) == 0 && !more {
		return bad("Empty CATENATE list.")
	}
	save, err := a.mbox.Save(a.ctx, opt)
	if err != nil {
		return err
	}
	a.saves = append(a.saves, save)
	for {
		if err := a.catenateURLs(save, list, more); err != nil {
			return err
		}
		if !more {
			return nil
		}
		utf8 := isUTF8Part(list)
		if err := a.text(save); err != nil {
			return err
		}
		if utf8 {
			if err := a.dec.EndList(); err != nil {
				return err
			}
		}
		if list, _, more, err = a.dec.CatenateUntilLiteral(); err != nil {
			return err
		}
	}
}

// isUTF8Part reports whether what was read of a list ends with UTF8, whose list a literal follows in (RFC 6855 4).
func isUTF8Part(list imapwire.Args) bool {
	n := len(list)
	return n >= 2 && list[n-2].Is("UTF8") && list[n-1].Kind == imapwire.List
}

// inBadURL drops what a response code must not have (RFC 4469 5).
func inBadURL(r rune) rune {
	if r < ' ' || r == ']' || r == '\\' {
		return -1
	}
	return r
}

// catenateURLs appends what the URLs of list mean. The list ends with TEXT if a literal follows.
func (a *appending) catenateURLs(save *mailbox.Save, list imapwire.Args, more bool) error {
	for ; len(list) > 0; list = list.Rest() {
		if more && len(list) == 1 && list[0].Is("TEXT") {
			return nil
		}
		if more && len(list) == 2 && isUTF8Part(list) && a.hasUTF8() {
			return nil
		}
		kind := list[0]
		if list = list.Rest(); !kind.Is("URL") || len(list) == 0 || list[0].Kind == imapwire.List {
			return errArguments
		}
		text := string(list[0].Data)
		u, err := parseMessageURL(text, a.box)
		if err == nil {
			err = a.writePart(save, u)
		}
		if wrong := urlError(""); errors.As(err, &wrong) {
			return &reply{cond: condNo, code: "[BADURL " + strings.Map(inBadURL, text) + "] ", text: strings.Map(inBadURL, err.Error()) + "."}
		}
		if err != nil {
			return err
		}
	}
	if more {
		return errArguments
	}
	return nil
}
