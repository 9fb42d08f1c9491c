package store

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/maildir"
)

// A format is a mailbox format that mail_location can name. A new one is added
// here; what it does to a mailbox is package mailbox's, and a layout other than
// fs needs its own paths in storage.
type format struct {
	name       string
	dirName    string // directory of the messages in each mailbox directory
	mailboxDir string // directory of the mailboxes below the root
	layout     string
	supported  bool
}

var formats = map[string]format{
	"sdbox":   {name: "sdbox", dirName: "dbox-Mails", mailboxDir: "mailboxes", layout: "fs", supported: true},
	"dbox":    {name: "sdbox", dirName: "dbox-Mails", mailboxDir: "mailboxes", layout: "fs", supported: true},
	"mdbox":   {name: "mdbox", dirName: "dbox-Mails", mailboxDir: "mailboxes", layout: "fs", supported: true},
	"maildir": {name: "maildir", layout: layoutMaildirPlus, supported: true},
	"mbox":    {name: "mbox", layout: "fs"},
}

// storage is an expanded mail_location: where the mailboxes of a namespace lie.
// All paths are absolute.
type storage struct {
	format        string
	layout        string
	root          string
	index         string // root of index files; "" for beside the mailboxes
	control       string // root of control files, root by default
	alt           string // second storage
	mailboxDir    string
	dirName       string
	fullDirName   bool // dirName also below the index root
	subscriptions string
	volatile      string
	utf8          bool
	brokenChar    byte
	noNoselect    bool
}

// parseLocation reads "driver:root[:KEY[=value]]..." whose %variables are
// expanded already. The errors are Dovecot's.
func parseLocation(text, home string) (*storage, error) {
	if text == "" {
		text = detectLocation(home)
	}
	driver, rest, ok := strings.Cut(text, ":")
	switch {
	case text == "":
		return nil, fmt.Errorf("Mail storage autodetection failed with home=%s", home)
	case !ok || strings.ContainsAny(driver, "/~"):
		return nil, fmt.Errorf("Ambiguous mail location setting, don't know what to do with it: %s (try prefixing it with mbox: or maildir:)", text)
	}
	f, ok := formats[strings.ToLower(driver)]
	if !ok {
		return nil, fmt.Errorf("Unknown mail storage driver %s", driver)
	}
	if !f.supported {
		return nil, fmt.Errorf("mail storage driver %s is not supported by this version of Dovetail; use sdbox, mdbox or maildir", driver)
	}
	fields := splitLocation(rest)
	if fields[0] == "" {
		return nil, fmt.Errorf("Root mail directory not given")
	}
	s := &storage{
		format:        f.name,
		layout:        f.layout,
		mailboxDir:    f.mailboxDir,
		dirName:       f.dirName,
		subscriptions: "subscriptions",
	}
	var err error
	if s.root, err = expandHome(fields[0], home); err != nil {
		return nil, err
	}
	s.control = s.root
	for _, field := range fields[1:] {
		if err := s.set(field, home); err != nil {
			return nil, err
		}
	}
	if s.volatile == "" {
		s.volatile = s.root
	}
	if s.index == s.root {
		s.index = ""
	}
	return s, nil
}

// detectLocation returns the location of mail that is there without a mail_location
// saying so.
func detectLocation(home string) string {
	if home == "" {
		return ""
	}
	root := filepath.Join(home, "Maildir")
	if made, err := maildir.Exists(root); err != nil || !made {
		return ""
	}
	return "maildir:" + strings.ReplaceAll(root, ":", "::")
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
func (s *storage) set(field, home string) error {
	key, value, _ := strings.Cut(field, "=")
	var err error
	dir := func(dst *string) { *dst, err = expandHome(value, home) }
	switch key {
	case "":
		// A trailing colon.
	case "INDEX":
		if value == "MEMORY" {
			return fmt.Errorf("INDEX=MEMORY: %s needs index files", s.format)
		}
		dir(&s.index)
	case "CONTROL":
		dir(&s.control)
	case "ALT":
		dir(&s.alt)
	case "VOLATILEDIR":
		dir(&s.volatile)
	case "LAYOUT":
		layout := strings.ToLower(value)
		if layout != layoutFS && (layout != layoutMaildirPlus || s.format != "maildir") {
			return s.layoutError(value)
		}
		s.layout = layout
	case "SUBSCRIPTIONS":
		s.subscriptions = value
	case "DIRNAME", "FULLDIRNAME":
		if value == "" || strings.Contains(value, "/") {
			return fmt.Errorf("%s: invalid directory name: %s", key, value)
		}
		s.dirName, s.fullDirName = value, key == "FULLDIRNAME"
	case "MAILBOXDIR":
		s.mailboxDir = path.Clean("/" + value)[1:]
	case "BROKENCHAR":
		if len(value) != 1 {
			return fmt.Errorf("BROKENCHAR value must be a single character")
		}
		s.brokenChar = value[0]
	case "UTF-8":
		s.utf8 = true
	case "NO-NOSELECT":
		s.noNoselect = true
	case "LISTINDEX", "NO-FS-VALIDATION", "ALTNOCHECK":
		// Nothing here depends on them.
	case "INBOX", "INDEXPVT", "INDEXCACHE", "ITERINDEX":
		return fmt.Errorf("%s is not supported by this version of Dovetail", key)
	default:
		return fmt.Errorf("Unknown setting: %s", key)
	}
	return err
}

func (s *storage) layoutError(layout string) error {
	switch strings.ToLower(layout) {
	case "maildir++", "index":
		return fmt.Errorf("LAYOUT=%s is not supported by this version of Dovetail for %s", layout, s.format)
	}
	return fmt.Errorf("Mailbox list driver %s: Unknown driver name", layout)
}

// expandHome expands "~/" and makes the path absolute, relative ones to the
// home directory, where Dovecot's working directory is.
func expandHome(p, home string) (string, error) {
	switch {
	case p == "~" || strings.HasPrefix(p, "~/"):
		if home == "" {
			return "", fmt.Errorf("Home directory not set for user. Can't expand ~/ for %s", p)
		}
		p = home + p[1:]
	case strings.HasPrefix(p, "~"):
		return "", fmt.Errorf("~user in mail_location is not supported by this version of Dovetail: %s", p)
	case !filepath.IsAbs(p):
		if home == "" {
			return "", fmt.Errorf("Home directory not set for user. Can't use the relative path %s", p)
		}
		p = home + "/" + p
	}
	return filepath.Clean(p), nil
}

// boxes returns the directory that holds the mailboxes.
func (s *storage) boxes() string { return filepath.Join(s.root, s.mailboxDir) }

// listRoot returns the directory of the files about the list as a whole
// (mailboxes.lock, dovecot.mailbox.log).
func (s *storage) listRoot() string {
	if s.index != "" {
		return s.index
	}
	return s.root
}

// location returns where the mailbox with the given name on disk lies.
func (s *storage) location(disk, name string) mailbox.Location {
	loc := mailbox.Location{
		Format: s.format,
		Name:   name,
		Dir:    filepath.Join(s.root, s.mailboxDir, disk, s.dirName),
	}
	disk = s.beside(disk)
	if s.index != "" {
		loc.IndexDir = filepath.Join(s.index, s.mailboxDir, disk)
		if s.fullDirName {
			loc.IndexDir = filepath.Join(loc.IndexDir, s.dirName)
		}
	}
	if s.control != s.root {
		loc.ControlDir = filepath.Join(s.control, s.mailboxDir, disk)
	}
	if s.format == "mdbox" {
		loc.DiskName = disk
		loc.Storage = &mailbox.Storage{Root: s.root, IndexDir: s.index, AltDir: s.alt, Boxes: s.mailboxDir, DirName: s.dirName}
		if s.fullDirName {
			loc.Storage.IndexName = s.dirName
		}
		return loc
	}
	if s.alt != "" {
		loc.AltDir = filepath.Join(s.alt, s.mailboxDir, disk, s.dirName)
	}
	return loc
}
