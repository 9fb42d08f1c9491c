package imap

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// checkEntryName checks the name of an attribute (RFC 5464 4.1) and returns it as it is kept: in lower
// case.
func checkEntryName(arg imapwire.Arg) (string, error) {
	raw, ok := arg.AString()
	if !ok {
		return "", bad("Entry isn't astring")
	}
	name := strings.ToLower(string(raw))
	if !strings.HasPrefix(name, "/") {
		return "", bad("Entry name must begin with '/'")
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c == '/' && i > 0 && name[i-1] == '/':
			return "", bad("Entry name can't contain consecutive '/'")
		case c == '/' && i == len(name)-1:
			return "", bad("Entry name can't end with '/'")
		case c == '*' || c == '%':
			return "", bad("Entry name can't contain '" + string(c) + "'")
		case c <= 0x19:
			return "", bad("Entry name can't contain control chars")
		}
	}
	if kind, _, _ := strings.Cut(name[1:], "/"); kind != "private" && kind != "shared" {
		return "", bad("Entry name must begin with /private or /shared")
	}
	return name, nil
}

// internalAttributes begins the keys of attributes that Dovecot keeps for itself.
const internalAttributes = "vendor/vendor.dovecot/pvt/"

// attributeOf returns the attribute that an entry of a mailbox names, the server's for "". It is
// false for those that clients have no business with.
func attributeOf(box, entry string) (a store.Attribute, ok bool) {
	kind, key, _ := strings.Cut(entry[1:], "/")
	a = store.Attribute{Mailbox: box, Shared: kind == "shared", Key: key}
	return a, !strings.HasPrefix(key, internalAttributes)
}

// errNotGeneric is the error where imap_metadata is off.
var errNotGeneric = &store.Error{Code: store.CodeCannot, Text: "Generic mailbox attributes not enabled"}

// mayUse returns an error unless clients may use the attribute. All may use the one that Dovecot
// defines itself.
func (c *command) mayUse(a store.Attribute) error {
	if c.set.Metadata || !a.Shared && a.Key == "specialuse" {
		return nil
	}
	return errNotGeneric
}

// metadataValue returns the value of an attribute, if it has one.
func (c *command) metadataValue(a store.Attribute) (value string, ok bool, err error) {
	if err := c.mayUse(a); err != nil {
		return "", false, err
	}
	return c.user.Metadata(c.ctx, a)
}

// metadataQuery is GETMETADATA's arguments (RFC 5464 4.2).
type metadataQuery struct {
	maxSize  uint64
	children bool // DEPTH 1 or infinity
	all      bool // DEPTH infinity
	mailbox  string
	entries  []string
}

func (c *command) metadataQuery(args imapwire.Args) (*metadataQuery, error) {
	q := &metadataQuery{maxSize: 1<<32 - 1}
	if len(args) > 0 && args[0].Kind == imapwire.List {
		if err := q.options(args.List()); err != nil {
			return nil, err
		}
		args = args.Rest()
	}
	if args.Count() < 2 {
		return nil, errArguments
	}
	var err error
	if q.mailbox, err = c.mailboxName(args); err != nil {
		return nil, err
	}
	entries := args.Rest()
	if entries[0].Kind == imapwire.List {
		entries = entries.List()
	} else if len(entries.Rest()) > 0 {
		return nil, errArguments
	}
	q.entries, err = entryNames(entries)
	return q, err
}

func entryNames(list imapwire.Args) (names []string, err error) {
	for ; len(list) > 0; list = list.Rest() {
		name, err := checkEntryName(list[0])
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func (q *metadataQuery) options(list imapwire.Args) error {
	for ; len(list) > 0; list = list.Rest() {
		name := list[0]
		value := imapwire.Arg{Kind: imapwire.List}
		if list = list.Rest(); len(list) > 0 {
			value = list[0]
		}
		ok := value.Kind == imapwire.Atom
		switch {
		case name.Is("MAXSIZE"):
			if ok {
				q.maxSize, ok = imapwire.ParseUint(value.Data)
			}
			if !ok || q.maxSize >= 1<<32 {
				return bad("Invalid value for MAXSIZE option")
			}
		case name.Is("DEPTH"):
			depth := string(value.Data)
			q.all = depth == "infinity"
			q.children = q.all || depth == "1"
			if !ok || !q.children && depth != "0" {
				return bad("Invalid value for DEPTH option")
			}
		default:
			return bad("Unknown option")
		}
	}
	return nil
}

// getMetadata is GETMETADATA (RFC 5464 4.2). Wildcards in the mailbox name are those of the drafts
// before it.
func (c *command) getMetadata() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	q, err := c.metadataQuery(args)
	if err != nil {
		return err
	}
	r := metadataReply{command: c, metadataQuery: q}
	if strings.ContainsAny(q.mailbox, "*%") {
		err = r.writeMatching()
	} else {
		err = r.writeBox(q.mailbox)
	}
	if err == nil && r.err == nil && r.longest > 0 {
		c.code = "[METADATA LONGENTRIES " + strconv.Itoa(r.longest) + "] "
	}
	return errors.Join(err, r.err)
}

// metadataReply writes what GETMETADATA answers.
type metadataReply struct {
	*command
	*metadataQuery
	begun   bool
	longest int   // value that was left out
	err     error // the last; those before were told
}

func (r *metadataReply) writeMatching() error {
	boxes, err := r.user.List(r.ctx, store.ListQuery{Patterns: []string{r.mailbox}})
	if err != nil {
		return err
	}
	for _, box := range boxes {
		if box.Flags&(store.FlagNoSelect|store.FlagNonExistent) == 0 {
			if err := r.writeBox(box.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeBox writes the entries of one mailbox, and what went wrong with them.
func (r *metadataReply) writeBox(box string) error {
	if box != "" {
		if err := r.mustExist(box); err != nil {
			return err
		}
	}
	if strings.EqualFold(box, "INBOX") {
		box = "INBOX"
	}
	var errs []error
	for _, entry := range r.entries {
		if err := r.writeTree(box, entry); err != nil {
			errs = append(errs, err)
		}
	}
	if r.begun {
		r.write(")\r\n")
	}
	r.begun = false
	for _, err := range errs {
		if r.err != nil {
			r.untaggedNo(r.err)
		}
		r.err = err
	}
	return r.ended
}

// mustExist returns the error that there is no such mailbox.
func (c *command) mustExist(name string) error {
	box, err := c.user.Mailbox(c.ctx, name)
	if err != nil {
		return err
	}
	return box.Close()
}

func (r *metadataReply) untaggedNo(err error) {
	var se *store.Error
	if errors.As(err, &se) {
		r.write("* NO " + se.Text + "\r\n")
		return
	}
	r.log.Errorf("%s: %v", r.name, err)
	r.write("* NO [SERVERBUG] " + appendInternal(time.Now()) + "\r\n")
}

// writeTree writes an entry and, as DEPTH says, those below. Only where it is asked for alone is one
// without value told of.
func (r *metadataReply) writeTree(box, entry string) error {
	a, ok := attributeOf(box, entry)
	if !ok {
		if !r.children {
			r.writeEntry(box, entry, nil)
		}
		return nil
	}
	value, found, err := r.metadataValue(a)
	switch {
	case err != nil && !(r.children && isImpossible(err)):
		return err
	case found:
		r.writeEntry(box, entry, &value)
	case !r.children:
		r.writeEntry(box, entry, nil)
	}
	if !r.children {
		return nil
	}
	if a.Key != "" {
		a.Key += "/"
	}
	keys, err := r.user.ListMetadata(r.ctx, a)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key == "" || !r.all && strings.Contains(key, "/") {
			continue
		}
		below := a
		below.Key += key
		if strings.HasPrefix(below.Key, internalAttributes) {
			continue
		}
		value, found, err := r.metadataValue(below)
		if err != nil && !isImpossible(err) {
			return err
		}
		if found {
			r.writeEntry(box, entry+"/"+key, &value)
		}
	}
	return nil
}

// isImpossible tells whether no dictionary is configured for an attribute.
func isImpossible(err error) bool {
	var se *store.Error
	return errors.As(err, &se) && se.Code == store.CodeCannot
}

// writeEntry writes an entry with its value, NIL for nil.
func (r *metadataReply) writeEntry(box, entry string, value *string) {
	if value != nil && uint64(len(*value)) > r.maxSize {
		r.longest = max(r.longest, len(*value))
		return
	}
	b := r.buf()
	if r.begun {
		b = append(b, ' ')
	} else {
		b = append(b, "* METADATA "...)
		b = r.appendName(b, box)
		b = append(b, " ("...)
		r.begun = true
	}
	b = imapwire.AppendAString(b, entry)
	if value == nil {
		r.put(append(b, " NIL"...)) //nolint:errcheck // sticky
		return
	}
	r.put(imapwire.AppendLiteral(append(b, ' '), *value)) //nolint:errcheck // sticky
}

// setMetadata is SETMETADATA (RFC 5464 4.3). Nothing is changed unless all names are right.
func (c *command) setMetadata() error {
	args, err := c.dec.BinaryArgs()
	if err != nil {
		return err
	}
	if args.Count() < 2 {
		return errArguments
	}
	box, err := c.mailboxName(args)
	if err != nil {
		return err
	}
	if args = args.Rest(); args[0].Kind != imapwire.List {
		return errArguments
	}
	if box != "" {
		if err := c.mustExist(box); err != nil {
			return err
		}
	}
	changes, err := metadataChanges(box, args.List())
	if err != nil {
		return err
	}
	for _, change := range changes {
		if err := c.mayUse(change.Attribute); err != nil {
			return err
		}
	}
	for _, change := range changes {
		if change.value == nil {
			err = c.user.UnsetMetadata(c.ctx, change.Attribute)
		} else {
			err = c.user.SetMetadata(c.ctx, change.Attribute, *change.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A metadataChange is a new value of an attribute, nil for none.
type metadataChange struct {
	store.Attribute
	value *string
}

func metadataChanges(box string, list imapwire.Args) (changes []metadataChange, err error) {
	var refused error
	for ; len(list) > 0; list = list.Rest() {
		if list[0].Kind == imapwire.List {
			return nil, bad("Entry name isn't astring")
		}
		entry, err := checkEntryName(list[0])
		if err != nil {
			return nil, err
		}
		if list = list.Rest(); len(list) == 0 {
			return nil, bad("Entry value missing")
		}
		if list[0].Kind == imapwire.List {
			return nil, bad("Entry value can't be a list")
		}
		a, ok := attributeOf(box, entry)
		if !ok {
			refused = &reply{cond: condNo, code: "[CANNOT] ", text: "Internal mailbox attributes cannot be accessed"}
		}
		change := metadataChange{Attribute: a}
		if !list[0].Is("NIL") {
			value := string(list[0].Data)
			change.value = &value
		}
		changes = append(changes, change)
	}
	return changes, refused
}
