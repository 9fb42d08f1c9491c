package imap

import (
	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

// An item is one thing FETCH can tell of a message, other than sections.
type item uint32

const (
	itemFlags item = 1 << iota
	itemUID
	itemInternalDate
	itemSaveDate // RFC 8514
	itemSize
	itemModSeq
	itemPreview // RFC 8970
	itemEmailID // RFC 8474
	itemThreadID
	itemGUID // this and what follows are Dovecot's own
	itemMailbox
	itemRealUID
	itemXSaveDate
	itemEnvelope
	itemBody
	itemBodyStructure
)

// long reports whether the item comes, with the sections, after those that are
// short, as Dovecot orders them.
func (it item) long() bool { return it >= itemEnvelope }

var fetchItems = map[string]item{
	"FLAGS":         itemFlags,
	"UID":           itemUID,
	"INTERNALDATE":  itemInternalDate,
	"SAVEDATE":      itemSaveDate,
	"RFC822.SIZE":   itemSize,
	"MODSEQ":        itemModSeq,
	"EMAILID":       itemEmailID,
	"THREADID":      itemThreadID,
	"X-GUID":        itemGUID,
	"X-MAILBOX":     itemMailbox,
	"X-REAL-UID":    itemRealUID,
	"X-SAVEDATE":    itemXSaveDate,
	"ENVELOPE":      itemEnvelope,
	"BODY":          itemBody,
	"BODYSTRUCTURE": itemBodyStructure,
}

// fetchMacros are allowed alone, not in a list.
var fetchMacros = map[string][]item{
	"ALL":  {itemFlags, itemInternalDate, itemSize, itemEnvelope},
	"FAST": {itemFlags, itemInternalDate, itemSize},
	"FULL": {itemFlags, itemInternalDate, itemSize, itemEnvelope, itemBody},
}

// A program is what FETCH is to tell.
type program struct {
	items        item   // all there are
	short        []item // what comes first
	long         []section
	needTree     bool // where the parts are is needed
	needText     bool // the text is needed
	setSeen      bool // a section is read without PEEK
	preview      preview
	changedSince uint64
	condstore    bool // uses RFC 7162
	vanished     bool // expunged messages are to be told
}

// add adds an item that was not asked for before.
func (p *program) add(it item) {
	if p.items&it != 0 {
		return
	}
	p.items |= it
	if it.long() {
		p.long = append(p.long, section{item: it})
		return
	}
	p.condstore = p.condstore || it == itemModSeq
	p.short = append(p.short, it)
}

func (p *program) addSection(s section) {
	p.long = append(p.long, s)
	if !s.isFields() {
		p.needText = true
		p.needTree = p.needTree || !s.whole() || s.binary
	}
	p.setSeen = p.setSeen || !s.peek
}

// parseFetch reads the arguments after the message set.
func parseFetch(args imapwire.Args, uid, uidOnly, qresync bool) (*program, error) {
	p := &program{}
	if uid && !uidOnly { // else the reply has the uid anyway (RFC 9586 3.3)
		p.add(itemUID)
	}
	if len(args) == 0 {
		return nil, errArguments
	}
	var err error
	if args[0].Kind == imapwire.List {
		err = p.list(args.List())
		args = args.Rest()
	} else {
		args, err = p.single(args)
	}
	if err != nil {
		return nil, err
	}
	if len(args) > 0 {
		if args[0].Kind != imapwire.List {
			return nil, errArguments
		}
		if err := p.modifiers(args.List(), uid, qresync); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// parseUpdateFetch reads what UPDATE sends of messages (RFC 5267 4.3.5).
func parseUpdateFetch(list imapwire.Args) (*program, error) {
	p := &program{}
	if len(list) == 0 {
		return nil, nil
	}
	if err := p.list(list); err != nil {
		return nil, bad("SEARCH UPDATE fetch-att: Invalid fetch-att list: " + err.Error())
	}
	return p, nil
}

func (p *program) list(list imapwire.Args) (err error) {
	if len(list) == 0 {
		return bad("FETCH list is empty.")
	}
	for len(list) > 0 {
		if list[0].Kind != imapwire.Atom {
			return bad("FETCH list contains non-atoms.")
		}
		if list, err = p.item(list); err != nil {
			return err
		}
	}
	return nil
}

// single reads one item or macro without parentheses.
func (p *program) single(args imapwire.Args) (imapwire.Args, error) {
	if args[0].Kind != imapwire.Atom {
		return nil, errArguments
	}
	if macro, ok := fetchMacros[string(imapwire.AppendUpper(nil, args[0].Data))]; ok {
		for _, it := range macro {
			p.add(it)
		}
		return args.Rest(), nil
	}
	return p.item(args)
}

// item reads one item from the front of args and returns the rest.
func (p *program) item(args imapwire.Args) (imapwire.Args, error) {
	name := string(imapwire.AppendUpper(nil, args[0].Data))
	if it, ok := fetchItems[name]; ok {
		p.add(it)
		return args.Rest(), nil
	}
	if s, ok := rfc822Sections[name]; ok {
		p.addSection(s)
		return args.Rest(), nil
	}
	if name == "PREVIEW" || name == "SNIPPET" {
		return p.addPreview(name, args.Rest())
	}
	s, rest, err := parseSection(name, args)
	if err != nil {
		return nil, err
	}
	p.addSection(s)
	return rest, nil
}

func (p *program) modifiers(list imapwire.Args, uid, qresync bool) error {
	since := false
	for ; len(list) > 0; list = list.Rest() {
		switch {
		case list[0].Kind != imapwire.Atom:
			return bad("FETCH modifiers contain non-atoms.")
		case list[0].Is("CHANGEDSINCE"):
			if list = list.Rest(); len(list) == 0 {
				return bad("Invalid CHANGEDSINCE modseq")
			}
			n, ok := atomNumber(list[0])
			if !ok {
				return bad("Invalid CHANGEDSINCE modseq")
			}
			p.changedSince = n
			p.condstore, since = true, true
			p.add(itemModSeq) // RFC 7162 3.1.4.1
		case list[0].Is("VANISHED") && uid:
			if !qresync {
				return errQResyncOff
			}
			p.vanished = true
		default:
			return bad("Unknown FETCH modifier")
		}
	}
	if p.vanished && !since {
		return bad("VANISHED used without CHANGEDSINCE")
	}
	return nil
}
