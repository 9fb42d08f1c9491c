package quota

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

// A Source looks up a setting of the plugin.
type Source func(key string) (value string, ok bool, err error)

// Backends are the ones there are.
const (
	Count   = "count"   // the mailboxes are asked each time
	Maildir = "maildir" // the file maildirsize
	Dict    = "dict"    // a dictionary
)

// unsupported are Dovecot's other backends.
var unsupported = map[string]string{"fs": "count or maildir", "dirsize": "count", "imapc": "count"}

// defaultGrace is how much the last message that is delivered may exceed the limit.
const defaultGrace = "10%"

// maxNumbered bounds rules, warnings and roots.
const maxNumbered = 1000

// A Root is one quota root.
type Root struct {
	Setting string // "quota", "quota2", ...
	Backend string
	Name    string

	DictUser, DictURI string // of backend dict

	InNamespace bool   // it is for one namespace:
	Namespace   string // that with this prefix

	Hidden          bool // GETQUOTAROOT does not tell of it
	NoEnforcing     bool // nothing is refused
	IgnoreUnlimited bool // there is no root if it has no limits
	NoUnset         bool // keys of the dictionary are not removed before they are set

	Base     Limit  // of all mailboxes, by the rules "*" and "?"
	Forced   bool   // by "*": the backend's own limits do not count
	LimitSet string // URI of the dictionary that SETQUOTA writes to; "" for none

	args     string // parameters
	base     amounts
	rules    []rule
	warnings []Warning
	grace    amount
}

// A rule is for the mailboxes that a mask matches.
type rule struct {
	mask   string
	ignore bool
	amounts
}

// ReadRoots reads the settings of all roots. warn gets what is out of date.
func ReadRoots(get Source, warn func(text string)) (roots []*Root, err error) {
	for n := 1; n <= maxNumbered; n++ {
		name := numbered("quota", n)
		def, _, err := get(name)
		if err != nil {
			return nil, err
		}
		if def == "" {
			return roots, initRoots(roots)
		}
		r, err := readRoot(name, def, get, warn)
		if err != nil {
			return nil, fmt.Errorf("Invalid quota root %s: %w", name, err)
		}
		roots = append(roots, r)
	}
	return nil, fmt.Errorf("more than %d quota roots", maxNumbered)
}

// initRoots reads the parameters, after all other settings.
func initRoots(roots []*Root) error {
	for _, r := range roots {
		if err := r.parameters(); err != nil {
			return err
		}
	}
	return nil
}

// numbered is the name of setting n of a kind: the first has no number.
func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	return name + strconv.Itoa(n)
}

func readRoot(setting, def string, get Source, warn func(string)) (*Root, error) {
	r := &Root{Setting: setting}
	r.Backend, r.args, _ = strings.Cut(def, ":")
	r.Name, r.args, _ = strings.Cut(r.args, ":")
	if instead, known := unsupported[r.Backend]; known {
		return nil, fmt.Errorf("quota backend %s is not supported by Dovetail; use %s", r.Backend, instead)
	}
	if r.Backend != Count && r.Backend != Maildir && r.Backend != Dict {
		return nil, fmt.Errorf("Unknown quota backend: %s", r.Backend)
	}
	err := eachNumbered(setting+"_rule", get, func(text string) error {
		if err := r.addRule(text, warn); err != nil {
			return fmt.Errorf("Invalid rule %s: %w", text, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.Base = r.base.of(Limit{})
	if err := eachNumbered(setting+"_warning", get, r.addWarning); err != nil {
		return nil, err
	}
	if set, ok, err := get(setting + "_set"); err != nil {
		return nil, err
	} else if ok {
		if r.LimitSet, ok = strings.CutPrefix(set, "dict:"); !ok {
			return nil, fmt.Errorf("%s_set supports only dict backend", setting)
		}
	}
	return r, r.readGrace(get)
}

// eachNumbered calls add with the settings of a kind until one is missing.
func eachNumbered(name string, get Source, add func(text string) error) error {
	for n := 1; n <= maxNumbered; n++ {
		text, ok, err := get(numbered(name, n))
		if err == nil && ok {
			err = add(text)
		}
		if err != nil || !ok {
			return err
		}
	}
	return fmt.Errorf("more than %d settings %s", maxNumbered, name)
}

func (r *Root) readGrace(get Source) error {
	key := r.Setting + "_grace"
	text, ok, err := get(key)
	if err != nil {
		return err
	}
	if !ok {
		text = defaultGrace
	}
	n, suffix, ok := number(text)
	if !ok {
		return fmt.Errorf("Invalid %s value '%s': not a number", key, text)
	}
	if r.grace, err = parseAmount(n, suffix, 1); err != nil {
		return fmt.Errorf("Invalid %s value '%s': %w", key, text, err)
	}
	return nil
}

func (r *Root) addRule(text string, warn func(string)) error {
	mask, limits, ok := strings.Cut(text, ":")
	if !ok {
		return errors.New("Invalid rule")
	}
	into, isBase := &rule{}, mask == "*" || mask == "?"
	switch {
	case isBase:
		into.amounts = r.base
		r.Forced = r.Forced || mask == "*"
		defer func() { r.base = into.amounts }()
	default:
		if strings.EqualFold(mask, "INBOX") {
			mask = "INBOX"
		}
		into = r.ruleFor(mask)
	}
	if limits == "ignore" {
		// For all mailboxes it has no effect: without limits there is nothing to ignore.
		into.ignore = true
		return nil
	}
	if text, ok := strings.CutPrefix(limits, "backend="); ok {
		return r.backendRule(&into.amounts, text)
	}
	return into.parse(limits, !isBase, !isBase, func(limit, value string) {
		warn(fmt.Sprintf("quota root %s rule %s: obsolete configuration for rule '%s' should be changed to '%s'", r.Name, text, limit, value))
	})
}

// ruleFor returns the rule with a mask, new if need be.
func (r *Root) ruleFor(mask string) *rule {
	for i := range r.rules {
		if r.rules[i].mask == mask {
			return &r.rules[i]
		}
	}
	r.rules = append(r.rules, rule{mask: mask})
	return &r.rules[len(r.rules)-1]
}

// backendRule reads limits as the file maildirsize has them.
func (r *Root) backendRule(a *amounts, text string) error {
	if r.Backend != Maildir {
		return errors.New("backend rule not supported")
	}
	l, ok := parseLimits(text)
	if !ok && text != "NOQUOTA" {
		return fmt.Errorf("quota-maildir: Invalid Maildir++ quota rule %q", text)
	}
	a.bytes, a.messages = amount{fixed: l.Bytes}, amount{fixed: l.Messages}
	return nil
}

// parameters reads what follows the name in the setting of the root. Dovecot wants the parameters in one
// order.
func (r *Root) parameters() error {
	args := r.args
	if r.Backend == Dict {
		var ok bool
		if r.DictUser, args, ok = strings.Cut(args, ":"); !ok {
			return r.failed("dict quota init failed: URI missing from parameters")
		}
	}
	for args != "" {
		word, rest, _ := strings.Cut(args, ":")
		if r.parameter(word) {
			args = rest
			continue
		}
		if r.Backend == Dict {
			r.DictURI = args
			return nil
		}
		return r.failed("%s quota init failed: Unknown parameter for backend %[1]s: %s", r.Backend, args)
	}
	return nil
}

func (r *Root) parameter(word string) bool {
	switch word {
	case "hidden":
		r.Hidden = true
	case "ignoreunlimited":
		r.IgnoreUnlimited = true
	case "noenforcing":
		r.NoEnforcing = true
	case "no-unset":
		r.NoUnset = true
		return r.Backend == Dict
	default:
		prefix, ok := strings.CutPrefix(word, "ns=")
		if ok {
			r.InNamespace, r.Namespace = true, prefix
		}
		return ok
	}
	return true
}

func (r *Root) failed(format string, args ...any) error {
	return fmt.Errorf("Quota root %s: %s", r.Name, fmt.Sprintf(format, args...))
}

// rule returns the first one for a mailbox; nil if there is none.
func (r *Root) rule(mailbox string) *rule {
	for i := range r.rules {
		if acl.Match(r.rules[i].mask, mailbox) {
			return &r.rules[i]
		}
	}
	return nil
}

// Ignores reports whether messages of a mailbox do not count.
func (r *Root) Ignores(mailbox string) bool {
	rule := r.rule(mailbox)
	return rule != nil && rule.ignore
}

// Limits returns those for a mailbox, where base are those of all. The name "" is for none of the mailboxes.
func (r *Root) Limits(mailbox string, base Limit) Limit {
	if base == (Limit{}) {
		return base
	}
	rule := r.rule(mailbox)
	switch {
	case rule == nil:
		return base
	case rule.ignore:
		return Limit{}
	}
	more := rule.of(base)
	return Limit{plus(base.Bytes, more.Bytes), plus(base.Messages, more.Messages)}
}

// plus adds without overflow. A limit that is less than nothing is none, as in Dovecot.
func plus(limit, more int64) int64 {
	if sum := limit + more; more < 0 || sum >= limit {
		return max(sum, 0)
	}
	return 1<<63 - 1
}

// Grace returns by how many bytes a delivery may exceed the limit of bytes.
func (r *Root) Grace(base Limit) int64 { return r.grace.of(base.Bytes) }

// HasLimits reports whether any may be configured, besides those of a backend.
func (r *Root) HasLimits() bool { return r.Base != (Limit{}) }

// Masks returns those of the rules for some mailboxes.
func (r *Root) Masks() []string {
	masks := make([]string, len(r.rules))
	for i := range r.rules {
		masks[i] = r.rules[i].mask
	}
	return masks
}
