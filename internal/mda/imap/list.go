package imap

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// list is LIST (RFC 3501 6.3.8, RFC 5258, RFC 6154, RFC 5819, RFC 9590) and LSUB.
func (c *command) list() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	q := listQuery{lsub: c.name == "LSUB"}
	if err := q.parse(c.session, args); err != nil {
		return err
	}
	if (q.lsub || q.extended) && len(q.Patterns) == 1 && q.Patterns[0] == "" {
		// Only LIST "" "" without options asks for the separator (RFC 3501 6.3.8, RFC 5258 3).
		if q.Reference == "" {
			return nil
		}
		q.Reference, q.Patterns[0] = "", q.Reference
	}
	if q.lsub && c.workarounds&workaroundLSubFlags != 0 {
		q.Return |= store.ReturnChildren
	}
	entries, err := c.user.List(c.ctx, q.ListQuery)
	if err != nil {
		return err
	}
	for i := range entries {
		if q.lsub {
			entries[i].Flags &^= store.FlagHasChildren | store.FlagHasNoChildren
		}
		if err := c.put(c.appendListEntry(c.buf(), c.name, &entries[i])); err != nil {
			return err
		}
		if entries[i].Flags&(store.FlagNoSelect|store.FlagNonExistent) != 0 {
			continue
		}
		if err := c.listAlso(entries[i].Name, &q); err != nil {
			return err
		}
	}
	return nil
}

// appendListEntry appends one reply of LIST or LSUB.
func (s *session) appendListEntry(b []byte, command string, e *store.ListEntry) []byte {
	b = append(b, "* "...)
	b = append(b, command...)
	b = append(b, " ("...)
	b = e.AppendFlags(b)
	b = append(b, ") "...)
	if e.Sep == 0 {
		b = append(b, "NIL"...)
	} else {
		b = imapwire.AppendString(b, string(e.Sep))
	}
	b = append(b, ' ')
	b = s.appendName(b, e.Name)
	if e.Flags&store.FlagChildSubscribed != 0 {
		b = append(b, ` (CHILDINFO ("SUBSCRIBED"))`...)
	}
	return append(b, "\r\n"...)
}

// listAlso tells what else is asked for of a mailbox.
func (c *command) listAlso(name string, q *listQuery) error {
	if q.status != 0 {
		if err := c.listStatus(name, q.status); err != nil {
			return err
		}
	}
	if len(q.metadata) == 0 {
		return nil
	}
	return c.listMetadata(name, q.metadata)
}

// listStatus is what LIST-STATUS adds to an entry. A mailbox that cannot be
// opened has no status (RFC 5819 2).
func (c *command) listStatus(name string, items statusItems) error {
	b, err := c.appendStatus(c.buf(), name, c.encodeName(name), items)
	if err != nil {
		return nil
	}
	return c.put(b)
}

// listQuery is the arguments of LIST.
type listQuery struct {
	store.ListQuery
	lsub     bool
	extended bool // as RFC 5258 has it
	status   statusItems
	metadata []string // entries
}

func (q *listQuery) parse(s *session, args imapwire.Args) error {
	if len(args) > 0 && args[0].Kind == imapwire.List && !q.lsub {
		q.extended = true
		if err := q.selection(args.List()); err != nil {
			return err
		}
		args = args.Rest()
	}
	var err error
	if q.Reference, args, err = s.nameArg(args, "Invalid reference"); err != nil {
		return err
	}
	if len(args) > 0 && args[0].Kind == imapwire.List && !q.lsub {
		q.extended = true
		for list := args.List(); len(list) > 0; {
			var p string
			if p, list, err = s.nameArg(list, "Invalid pattern list"); err != nil {
				return err
			}
			q.Patterns = append(q.Patterns, p)
		}
		args = args.Rest()
	} else {
		var p string
		if p, args, err = s.nameArg(args, "Invalid pattern"); err != nil {
			return err
		}
		q.Patterns = []string{p}
	}
	if len(args) > 0 && args[0].Is("RETURN") && len(args.Rest()) > 0 && args.Rest()[0].Kind == imapwire.List && !q.lsub {
		q.extended = true
		args = args.Rest()
		if err := q.returns(s, args.List()); err != nil {
			return err
		}
		args = args.Rest()
	}
	if len(args) > 0 {
		return bad("Extra arguments")
	}
	switch {
	case q.lsub:
		q.Select |= store.SelectLSub | store.SelectSubscribed
	case !q.extended:
		q.Return |= store.ReturnChildren | store.ReturnSpecialUse
	}
	return nil
}

// nameArg reads a reference or pattern, in UTF-8. What is not valid
// matches nothing, but is no error.
func (s *session) nameArg(args imapwire.Args, text string) (string, imapwire.Args, error) {
	if len(args) == 0 {
		return "", nil, bad(text)
	}
	raw, ok := args[0].AString()
	if !ok {
		return "", nil, bad(text)
	}
	name, err := s.wireName(raw)
	if err != nil {
		name = string(raw)
	}
	return name, args.Rest(), nil
}

var selectOptions = map[string]store.ListSelect{
	"SUBSCRIBED":     store.SelectSubscribed,
	"RECURSIVEMATCH": store.SelectRecursiveMatch,
	"SPECIAL-USE":    store.SelectSpecialUse,
	"REMOTE":         store.SelectRemote,
}

func (q *listQuery) selection(list imapwire.Args) error {
	for ; len(list) > 0; list = list.Rest() {
		if list[0].Kind != imapwire.Atom {
			return bad("List options contains non-atoms.")
		}
		option, ok := selectOptions[strings.ToUpper(string(list[0].Data))]
		if !ok {
			return bad("Unknown select options")
		}
		q.Select |= option
	}
	if q.Select&store.SelectSubscribed != 0 {
		q.Return |= store.ReturnSubscribed
	}
	if q.Select&store.SelectSpecialUse != 0 {
		q.Return |= store.ReturnSpecialUse
	}
	// RFC 5258 3.1
	if q.Select&store.SelectRecursiveMatch != 0 && q.Select&^(store.SelectRecursiveMatch|store.SelectRemote) == 0 {
		return bad("RECURSIVEMATCH must not be the only selection.")
	}
	return nil
}

var returnOptions = map[string]store.ListReturn{
	"SUBSCRIBED":  store.ReturnSubscribed,
	"CHILDREN":    store.ReturnChildren,
	"SPECIAL-USE": store.ReturnSpecialUse,
}

func (q *listQuery) returns(s *session, list imapwire.Args) error {
	for ; len(list) > 0; list = list.Rest() {
		if list[0].Kind != imapwire.Atom {
			return bad("List options contains non-atoms.")
		}
		name := strings.ToUpper(string(list[0].Data))
		if name == "STATUS" {
			if list = list.Rest(); len(list) == 0 || list[0].Kind != imapwire.List {
				return bad("Missing STATUS return parameter")
			}
			var err error
			if q.status, err = s.parseStatusItems(list.List()); err != nil {
				return err
			}
			continue
		}
		if name == "METADATA" && s.hasMetadata() {
			// RFC 9590 5: at least one entry.
			if list = list.Rest(); len(list) == 0 || list[0].Kind != imapwire.List || len(list.List()) == 0 {
				return bad("Missing METADATA return parameter")
			}
			var err error
			if q.metadata, err = entryNames(list.List()); err != nil {
				return err
			}
			continue
		}
		option, ok := returnOptions[name]
		if !ok {
			return bad("Unknown return options")
		}
		q.Return |= option
	}
	return nil
}
