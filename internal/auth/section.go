package auth

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// A rule says what follows from a database's answer.
type rule struct {
	goOn    bool // ask the next one
	outcome ruleOutcome
}

type ruleOutcome uint8

const (
	outcomeKeep ruleOutcome = iota // what is remembered stays
	outcomeOK
	outcomeFail
)

var rules = map[string]rule{
	"return":        {false, outcomeKeep},
	"return-ok":     {false, outcomeOK},
	"return-fail":   {false, outcomeFail},
	"continue":      {true, outcomeKeep},
	"continue-ok":   {true, outcomeOK},
	"continue-fail": {true, outcomeFail},
}

// A section is what passdb and userdb sections share.
type section struct {
	name                          string // for log lines
	number                        int
	onSuccess, onFailure, onTemp  rule
	defaultFields, overrideFields db.Templates
	verbose                       bool
	cacheKey                      string // template
	cached                        bool   // answers may be kept
	gate                          *gate  // to the driver, if one has to wait for it
}

// A passdb is an open passdb section.
type passdb struct {
	section
	driver     db.Passdb
	mechanisms []string
	filter     []string
	skip       string
	deny       bool
	decoy      decoy
}

// A userdb is an open userdb section.
type userdb struct {
	section
	driver db.Userdb
	skip   string
}

func newSection(name, driver string, number int, success, failure, temp, defaults, overrides, verbose string, set *Settings) section {
	if name == "" {
		name = driver
	}
	return section{
		name: name, number: number,
		onSuccess: rules[success], onFailure: rules[failure], onTemp: rules[temp],
		defaultFields: db.ParseTemplates(defaults), overrideFields: db.ParseTemplates(overrides),
		gate:    newGate(max(1, int(set.WorkerMaxCount))),
		verbose: verbose == "yes" || (verbose != "no" && (set.Verbose || set.VerbosePasswords != "no")),
	}
}

func (s *Server) openPassdb(p *dovecot.Passdb, number int) (*passdb, error) {
	driver, err := db.OpenPassdb(s.env, p.Driver, p.Args)
	if err != nil {
		return nil, err
	}
	success := p.ResultSuccess
	if p.Pass {
		success = "continue"
	}
	opened := &passdb{
		section:    newSection(p.Name, p.Driver, number, success, p.ResultFailure, p.ResultInternalfail, p.DefaultFields, p.OverrideFields, p.AuthVerbose, s.set),
		driver:     driver,
		mechanisms: strings.FieldsFunc(p.Mechanisms, isListSeparator),
		filter:     strings.FieldsFunc(p.UsernameFilter, isListSeparator),
		skip:       p.Skip,
		deny:       p.Deny,
	}
	opened.cacheKey, opened.cached = passdbCacheTemplate(driver, p.DefaultFields)
	return opened, nil
}

func isListSeparator(c rune) bool { return c == ' ' || c == ',' }

func (s *Server) openUserdb(u *dovecot.Userdb, number int) (*userdb, error) {
	driver, err := db.OpenUserdb(s.env, u.Driver, u.Args)
	if err != nil {
		return nil, err
	}
	opened := &userdb{
		section: newSection(u.Name, u.Driver, number, u.ResultSuccess, u.ResultFailure, u.ResultInternalfail, u.DefaultFields, u.OverrideFields, u.AuthVerbose, s.set),
		driver:  driver,
		skip:    u.Skip,
	}
	opened.cacheKey, opened.cached = userdbCacheTemplate(driver, u.DefaultFields)
	return opened, nil
}

// filters says what of the request the passdb is not for; nothing if it is.
func (p *passdb) filters(req *db.Request) string {
	switch {
	case len(p.mechanisms) > 0 && !p.hasMechanism(req.Mechanism):
		return "mechanism filtered"
	case len(p.filter) > 0 && !matchFilter(p.filter, req.User):
		return "username filtered"
	}
	return ""
}

// skips reports whether the passdb is not to be asked. authenticated tells whether an
// earlier one said yes.
func (p *passdb) skips(authenticated bool) bool {
	return p.skip == "authenticated" && authenticated || p.skip == "unauthenticated" && !authenticated
}

func (p *passdb) hasMechanism(name string) bool {
	if name == "" {
		name = "none"
	}
	for _, m := range p.mechanisms {
		if strings.EqualFold(m, name) {
			return true
		}
	}
	return false
}

// matchFilter is username_filter: a "!mask" that matches excludes; otherwise
// one of the masks must match, if there are any without "!".
func matchFilter(masks []string, name string) bool {
	matched, positive := false, false
	for _, mask := range masks {
		negative, isNegative := strings.CutPrefix(mask, "!")
		switch {
		case isNegative && wildcardMatch(negative, name):
			return false
		case !isNegative:
			positive = true
			matched = matched || wildcardMatch(mask, name)
		}
	}
	return matched || !positive
}

// wildcardMatch matches * and ?, in time proportional to the product of the lengths at
// worst. As in Dovecot letter case counts: names are in lower case by default.
func wildcardMatch(mask, name string) bool {
	m, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case m < len(mask) && mask[m] == '*':
			star, mark = m, n
			m++
		case m < len(mask) && (mask[m] == '?' || mask[m] == name[n]):
			m++
			n++
		case star >= 0:
			mark++
			m, n = star+1, mark
		default:
			return false
		}
	}
	for m < len(mask) && mask[m] == '*' {
		m++
	}
	return m == len(mask)
}
