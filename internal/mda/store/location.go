package store

import (
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"strings"
)

// A format is a mailbox format that mail_location can name. What it does to a
// mailbox is package mailbox's.
type format struct {
	name          string
	dirName       string // directory of the messages in each mailbox directory
	mailboxDir    string // directory of the mailboxes below the root
	layout        string
	subscriptions string
	memory        bool // can do without index files
	supported     bool
}

var formats = map[string]format{
	"sdbox":   {name: "sdbox", dirName: "dbox-Mails", mailboxDir: "mailboxes", layout: layoutFS, subscriptions: "subscriptions", supported: true},
	"dbox":    {name: "sdbox", dirName: "dbox-Mails", mailboxDir: "mailboxes", layout: layoutFS, subscriptions: "subscriptions", supported: true},
	"mdbox":   {name: "mdbox", dirName: "dbox-Mails", mailboxDir: "mailboxes", layout: layoutFS, subscriptions: "subscriptions", supported: true},
	"maildir": {name: "maildir", layout: layoutMaildirPlus, subscriptions: "subscriptions", memory: true, supported: true},
	"mbox":    {name: "mbox", layout: layoutFS, subscriptions: ".subscriptions", memory: true, supported: true},
	"virtual": {name: formatVirtual, layout: layoutFS, subscriptions: ".virtual-subscriptions", memory: true, supported: true},
}

// storage is an expanded mail_location: where the mailboxes of a namespace lie.
// All paths are absolute.
type storage struct {
	format        string
	layout        string
	root          string
	owner         string // user name
	minIndex      int64  // mbox_min_index_size
	inbox         string // INBOX, if it is not where its name says
	inboxInRoot   bool   // the root itself is INBOX in a namespace with inbox=yes
	index         string // root of index files; "" for beside the mailboxes
	indexMemory   bool   // index files last no longer than this process; index is where they are
	indexPrivate  string // root of dovecot.index.pvt; "" for none
	public        bool   // the namespace is a public one
	indexCache    string // root of dovecot.index.cache; "" for beside the index
	control       string // root of control files, root by default
	alt           string // second storage
	altNoCheck    bool   // there may be no dbox-alt-root
	mailboxDir    string
	dirName       string
	fullDirName   bool // dirName also below the other roots
	subscriptions string
	listIndex     string // name of dovecot.list.index
	listIndexDir  string // its directory, "" for that of the index files
	volatile      string
	utf8          bool
	brokenChar    byte
	escapeChar    byte // begins what stands for a character that names on disk cannot have; 0 for none
	listSep       byte // LAYOUT=index: between the parts of a name
	iterIndex     bool // list the index tree
	noNoselect    bool
	anyName       bool // NO-FS-VALIDATION
}

// An owner is whose mail a location leads to.
type owner struct{ name, home string }

// A locationParser reads one mail_location.
type locationParser struct {
	owner
	data      string // behind the driver, for errors
	st        *storage
	layoutSet string
	dirName   string
	boxDir    string
	subs      string
}

// parseLocation reads "driver:root[:KEY[=value]]..." whose %variables are
// expanded already. The errors are Dovecot's.
func parseLocation(text string, who owner) (*storage, error) {
	driver, data := splitDriver(text)
	p := locationParser{owner: who, data: data, st: &storage{listIndex: listIndexName}}
	if err := p.parse(data); err != nil {
		return nil, err
	}
	name := strings.ToLower(driver)
	if driver == "" || name == "auto" {
		found, err := p.detect(text)
		if err != nil {
			return nil, err
		}
		name = found
	}
	f, ok := formats[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("Unknown mail storage driver %s", driver)
	case p.st.root == "":
		return nil, errors.New("Root mail directory not given")
	case !f.supported:
		return nil, fmt.Errorf("mail storage driver %s is not supported by this version of Dovetail; use sdbox, mdbox or maildir", f.name)
	}
	return p.finish(f)
}

// splitDriver separates the format from the rest. Without one all of it is a path.
func splitDriver(text string) (driver, data string) {
	i := 0
	for i < len(text) && (text[i] == '_' || text[i]|0x20 >= 'a' && text[i]|0x20 <= 'z' || text[i] >= '0' && text[i] <= '9') {
		i++
	}
	if i > 0 && i < len(text) && text[i] == ':' {
		return text[:i], text[i+1:]
	}
	return "", text
}

// parse reads the root and the keys.
func (p *locationParser) parse(data string) error {
	if data == "" {
		return nil
	}
	fields := splitLocation(data)
	if strings.HasPrefix(fields[0], "INBOX=") {
		return fmt.Errorf("Mail root directory not given: %s", data)
	}
	var err error
	if p.st.root, err = p.path(fields[0], "mail root dir"); err != nil {
		return err
	}
	for i, field := range fields[1:] {
		if field == "" && i == len(fields)-2 {
			break // it ends with a colon
		}
		if err := p.set(field); err != nil {
			return err
		}
	}
	if p.st.iterIndex && (p.st.index == "" || p.st.indexMemory) {
		return errors.New("ITERINDEX requires INDEX to be explicitly set")
	}
	if i := strings.LastIndexByte(p.st.listIndex, '/'); i >= 0 {
		p.st.listIndexDir, p.st.listIndex = p.st.listIndex[:i], p.st.listIndex[i+1:]
		if p.st.indexMemory && !filepath.IsAbs(p.st.listIndexDir) {
			return errors.New("LISTINDEX directory is relative but INDEX=MEMORY")
		}
	}
	return nil
}

// splitLocation splits at single colons; two stand for one.
func splitLocation(text string) []string {
	fields := strings.Split(strings.ReplaceAll(text, "::", "\x00"), ":")
	for i := range fields {
		fields[i] = strings.ReplaceAll(fields[i], "\x00", ":")
	}
	return fields
}

// set applies one KEY[=value].
func (p *locationParser) set(field string) error {
	if field == "UTF-8" {
		p.st.utf8 = true
		return nil
	}
	key, value, _ := strings.Cut(field, "=")
	s := p.st
	switch key {
	case "ALTNOCHECK":
		s.altNoCheck = true
	case "BROKENCHAR":
		if len(value) != 1 {
			return errors.New("BROKENCHAR value must be a single character")
		}
		s.brokenChar = value[0]
	case "ITERINDEX":
		s.iterIndex = true
	case "NO-NOSELECT":
		s.noNoselect = true
	case "NO-FS-VALIDATION":
		s.anyName = true
	case "LAYOUT":
		p.layoutSet = value
		if value == "" {
			return p.layoutError("", "Unknown driver name")
		}
	case "DIRNAME", "FULLDIRNAME":
		p.dirName, s.fullDirName = strings.Trim(value, "/"), s.fullDirName || key == "FULLDIRNAME"
		if strings.Contains(p.dirName, "/") || p.dirName == "." || p.dirName == ".." {
			return fmt.Errorf("%s: invalid directory name: %s", key, value)
		}
	case "MAILBOXDIR":
		p.boxDir = filepath.Clean("/" + value)[1:]
	case "SUBSCRIPTIONS":
		p.subs = value
	case "LISTINDEX":
		dst, err := p.file(value, key)
		s.listIndex = dst
		return err
	default:
		return p.setDir(key, value)
	}
	return nil
}

// setDir applies a key whose value is a directory.
func (p *locationParser) setDir(key, value string) (err error) {
	s := p.st
	var dst *string
	switch key {
	case "INBOX":
		dst = &s.inbox
	case "INDEX":
		dst = &s.index
		s.indexMemory = value == "MEMORY" || value == ""
		if s.indexMemory {
			return nil
		}
	case "INDEXPVT":
		dst = &s.indexPrivate
	case "INDEXCACHE":
		dst = &s.indexCache
	case "CONTROL":
		dst = &s.control
	case "ALT":
		dst = &s.alt
	case "VOLATILEDIR":
		dst = &s.volatile
	default:
		return fmt.Errorf("Unknown setting: %s", key)
	}
	*dst, err = p.path(value, key)
	return err
}

// finish fills in what the format has as defaults.
func (p *locationParser) finish(f format) (*storage, error) {
	s := p.st
	s.format, s.mailboxDir, s.dirName, s.subscriptions = f.name, f.mailboxDir, f.dirName, f.subscriptions
	if p.boxDir != "" {
		s.mailboxDir = p.boxDir
	}
	if p.dirName != "" {
		s.dirName = p.dirName
	}
	if p.subs != "" {
		s.subscriptions = p.subs
	}
	s.layout = f.layout
	if s.isVirtual() {
		s.listIndex = "" // Dovecot must not find there that they cannot be selected
	}
	if p.layoutSet != "" {
		s.layout = strings.ToLower(p.layoutSet)
	}
	if err := p.checkLayout(); err != nil {
		return nil, err
	}
	if s.indexMemory {
		if !f.memory {
			return nil, fmt.Errorf("INDEX=MEMORY: %s needs index files", f.name)
		}
		dir, err := memoryIndex(s.root)
		if err != nil {
			return nil, fmt.Errorf("INDEX=MEMORY: %w", err)
		}
		s.index = dir
	}
	if s.control == "" {
		s.control = s.root
	}
	for _, dir := range []*string{&s.index, &s.indexPrivate, &s.indexCache} {
		if *dir == s.root {
			*dir = ""
		}
	}
	if f.name == "mbox" {
		s.inbox, s.owner = cmpOr(s.inbox, filepath.Join(s.root, s.mailboxDir, mboxInbox)), p.name
	}
	if s.layout == layoutIndex {
		s.inbox = "" // INBOX has a GUID as all have
	}
	s.inboxInRoot = f.name == "maildir" && s.dirName == "" && s.layout != layoutIndex && s.inbox == ""
	if s.layout == layoutIndex {
		s.dirName, s.escapeChar = "", '^'
	}
	return s, nil
}

// checkLayout refuses what the layout cannot do.
func (p *locationParser) checkLayout() error {
	s := p.st
	switch s.layout {
	case layoutFS:
	case layoutIndex:
		if s.isVirtual() {
			return p.layoutError(s.layout, "not supported by this version of Dovetail for "+s.format)
		}
	case layoutMaildirPlus:
		switch {
		case s.dirName != "":
			return p.layoutError(s.layout, "maildir_name not supported by this driver")
		case s.alt != "":
			return p.layoutError(s.layout, "alt_dir not supported by this driver")
		case s.format != "maildir":
			return p.layoutError(s.layout, "not supported by this version of Dovetail for "+s.format)
		}
	case layoutNone:
		return p.layoutError(s.layout, "there would be no mailboxes")
	default:
		return p.layoutError(p.layoutSet, "Unknown driver name")
	}
	return nil
}

func (p *locationParser) layoutError(name, why string) error {
	return fmt.Errorf("Mailbox list driver %s: %s", name, why)
}

// file expands "~/" and "~user/".
func (p *locationParser) file(path, what string) (string, error) {
	name, rest, _ := strings.Cut(path, "/")
	switch {
	case !strings.HasPrefix(path, "~"):
		return path, nil
	case name == "~":
		if p.home == "" {
			return "", fmt.Errorf("Home directory not set for user. Can't expand ~/ for %s in: %s", what, p.data)
		}
		return p.home + "/" + rest, nil
	}
	other, err := user.Lookup(name[1:])
	if err != nil {
		return "", fmt.Errorf("No home directory for system user. Can't expand %s for %s in: %s", name, what, p.data)
	}
	return other.HomeDir + "/" + rest, nil
}

// path is file for an absolute path. A relative one begins in the home directory,
// where Dovecot's processes work.
func (p *locationParser) path(text, what string) (string, error) {
	if text == "" {
		return "", nil
	}
	path, err := p.file(text, what)
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(path) {
		if p.home == "" {
			return "", fmt.Errorf("Home directory not set for user. Can't use the relative path %s for %s in: %s", text, what, p.data)
		}
		path = p.home + "/" + path
	}
	return filepath.Clean(path), nil
}
