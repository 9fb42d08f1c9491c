package auth

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/password"
	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// A recollection is what the cache has to say about a request in place of a passdb. It
// is made once for each passdb of a chain.
type recollection struct {
	asked bool
	kept  bool     // the passdb's answers are kept
	text  string   // the key, not hashed
	key   cacheKey // of it
	used  bool     // the chain goes by the entry
	entry memory
	heard []db.Field // what the passdb said instead
	user  string     // who it was asked about
}

// cacheTemplate is the key of a section: what the driver depends on and what its
// default fields do.
func cacheTemplate(key string, ok bool, defaultFields string) (string, bool) {
	return db.CacheKey(key + " " + defaultFields), ok
}

func passdbCacheTemplate(driver db.Passdb, defaultFields string) (string, bool) {
	d, ok := driver.(db.CachedPassdb)
	if !ok {
		return "", false
	}
	key, ok := d.PassdbCacheKey()
	return cacheTemplate(key, ok, defaultFields)
}

func userdbCacheTemplate(driver db.Userdb, defaultFields string) (string, bool) {
	d, ok := driver.(db.CachedUserdb)
	if !ok {
		return "", false
	}
	key, ok := d.UserdbCacheKey()
	return cacheTemplate(key, ok, defaultFields)
}

// cacheText is the key for a request at a database, as Dovecot makes it: kind and number
// of the database, the master user, and the variables.
func (s *Server) cacheText(kind string, sec *section, req *db.Request) (string, bool) {
	if s.cache == nil || !sec.cached {
		return "", false
	}
	vars, err := req.ExpandCacheKey(sec.cacheKey)
	if err != nil {
		return "", false // the database will say the same, or does not depend on it
	}
	text := kind + strconv.Itoa(sec.number)
	if req.MasterUser != "" {
		text += "+" + string(wire.AppendEscaped(nil, req.MasterUser))
	}
	return text + "\t" + vars, true
}

// recall looks for an answer in the cache. It is done if that says that there is no such
// user; otherwise what was found is in the place of what the passdb would have given.
func (c *passChain) recall(p *passdb) (r result, done bool) {
	m := &c.recalled
	if m.asked {
		return 0, false
	}
	m.asked = true
	if m.text, m.kept = c.server.cacheText("P", &p.section, c.req); !m.kept {
		return 0, false
	}
	m.key = c.server.cache.hash(m.text)
	entry, ok := c.server.cache.get(m.key)
	switch {
	case !ok:
		c.req.Debugf("cache miss")
		return 0, false
	case entry.expired:
		c.req.Debugf("cache expired")
		return 0, false
	}
	return c.use(p, entry)
}

// use goes by an entry.
func (c *passChain) use(p *passdb, entry memory) (r result, done bool) {
	m := &c.recalled
	m.used, m.entry = true, entry
	c.logHit(entry.value)
	if entry.value == "" {
		err := db.ErrUnknownUser
		if c.purpose != purposeVerify || c.fetch != "" {
			err = db.Told(err)
		}
		return c.judge(p, err), true
	}
	stored, fields, _ := wire.CutString(entry.value)
	m.heard = db.ParseFields(fields)
	c.secret = db.Secret{Stored: wire.Unescape(stored)}
	c.fetched = true
	if stored == "" {
		c.req.NoPassword = true
		if c.checksPassword(p) {
			c.req.Infof("Cached NULL password access")
		}
	}
	return 0, false
}

// repeat gives the fields of an entry that is gone by. As in Dovecot they come after the
// check of the password.
func (c *passChain) repeat() {
	c.req.Fields.Remove("password")
	if c.secret.Stored != "" {
		c.req.SetField(db.Field{Name: "password", Value: c.secret.Stored})
	}
	for _, f := range c.recalled.heard {
		c.req.SetField(f)
	}
}

// logHit shows an entry, the password only with auth_debug_passwords.
func (c *passChain) logHit(value string) {
	if !c.server.set.DebugPasswords && value != "" && value[0] != '\t' {
		_, fields, more := strings.Cut(value, "\t")
		value = "<hidden>"
		if more {
			value += "\t" + fields
		}
	}
	c.req.Debugf("cache hit: %s", value)
}

// outdated reports whether a password that does not fit what was recalled may be a new
// one: the last one was right, or the entry is too old to refuse anybody by.
func (c *passChain) outdated(err error) bool {
	m := &c.recalled
	return m.used && errors.Is(err, db.ErrMismatch) && !db.IsTold(err) && (m.entry.right || m.entry.negativeExpired)
}

// disregard has the passdb asked after all.
func (c *passChain) disregard() {
	c.req.Rollback()
	c.req.NoPassword, c.req.Failed = false, false
	c.recalled.used, c.recalled.heard = false, nil
	c.fetched, c.secret = false, db.Secret{}
}

// settle judges an answer of the passdb or of the cache, and keeps the former. If the
// passdb failed, an entry that has expired is better than nothing.
func (c *passChain) settle(p *passdb, err error) result {
	m := &c.recalled
	r := c.judge(p, err)
	c.forget(p, r)
	switch {
	case !m.kept:
	case m.used:
		if r == resultOK && c.checksPassword(p) {
			c.server.cache.tell(m.key, true)
		}
		c.repeat()
	case r == resultInternal:
		return c.fallBack(p)
	default:
		c.keep(p, r)
	}
	return r
}

// checksPassword reports whether the password of the client is what p is asked about.
func (c *passChain) checksPassword(p *passdb) bool {
	return c.purpose == purposeVerify && c.fetch == "" && !c.verified && !p.deny
}

// fallBack goes by an entry that has expired, if its password fits.
func (c *passChain) fallBack(p *passdb) result {
	entry, ok := c.server.cache.get(c.recalled.key)
	if !ok {
		return resultInternal
	}
	c.req.Rollback()
	c.req.NoPassword, c.req.Failed = false, false
	r, done := c.use(p, entry)
	if !done {
		err := c.compare(context.Background(), p)
		if c.outdated(err) {
			return resultInternal // nobody can tell whether the password is a new one
		}
		r = c.judge(p, err)
		c.repeat()
	}
	if c.req.Verbose {
		c.server.log.Infof("Falling back to expired data from cache")
	}
	return r
}

// keep puts an answer of the passdb into the cache, if it is one that will be the same
// next time.
func (c *passChain) keep(p *passdb, r result) {
	m := &c.recalled
	switch r {
	case resultUnknown:
		c.server.cache.put(m.key, m.text, nil, false)
		return
	case resultOK, resultMismatch:
	default:
		return
	}
	_, verifies := p.driver.(db.Verifier) // itself: nopassword means nothing there
	stored := c.secret.Stored
	if stored != "" {
		scheme, data := password.Split(stored, c.secret.DefaultScheme)
		stored = "{" + scheme + "}" + data
	}
	if stored == "" && (verifies || !c.req.NoPassword) {
		var ok bool
		if stored, ok = c.provenPassword(p, r); !ok {
			if r == resultMismatch {
				c.server.cache.tell(m.key, false)
			}
			return
		}
	}
	value := wire.AppendEscaped(nil, stored)
	if fields := withoutPassword(m.heard, verifies); len(fields) > 0 {
		value = db.AppendFields(append(value, '\t'), fields)
	}
	if len(value) == 0 {
		value = append(value, '\t') // something: nothing would be an unknown user
	}
	c.server.cache.put(m.key, m.text, value, r == resultOK)
}

// provenPassword is a hash of the password that a database has found right which does
// not tell the stored one.
func (c *passChain) provenPassword(p *passdb, r result) (string, bool) {
	if r != resultOK || !c.checksPassword(p) || c.req.Password == "" {
		return "", false
	}
	const scheme = "SSHA256"
	hash, err := password.Generate(scheme, c.req.Password, password.Options{})
	return "{" + scheme + "}" + hash, err == nil
}

// withoutPassword leaves out the stored password, and nopassword if something is to be
// compared all the same.
func withoutPassword(fields []db.Field, needed bool) []db.Field {
	var rest []db.Field
	for _, f := range fields {
		if !f.IsPassword() && !(needed && f.Name == "nopassword") {
			rest = append(rest, f)
		}
	}
	return rest
}

// A userRecollection is the same for a userdb.
type userRecollection struct {
	s    *Server
	text string
	key  cacheKey
	kept bool
	name string // of the user, as asked
}

// noFields is the entry of a user of whom the userdb knows nothing else.
const noFields = "."

// recallUser looks for an answer of a userdb in the cache.
func (s *Server) recallUser(u *userdb, req *db.Request) (m userRecollection, r result, found bool) {
	m = userRecollection{s: s, name: req.User}
	if m.text, m.kept = s.cacheText("U", &u.section, req); !m.kept {
		return m, 0, false
	}
	m.key = s.cache.hash(m.text)
	entry, ok := s.cache.get(m.key)
	switch {
	case !ok:
		req.Debugf("userdb cache miss")
		return m, 0, false
	case entry.expired:
		req.Debugf("userdb cache expired")
		return m, 0, false
	}
	return m, m.use(req, entry), true
}

// use goes by an entry.
func (m *userRecollection) use(req *db.Request, entry memory) result {
	req.Debugf("userdb cache hit: %s", entry.value)
	if entry.value == "" {
		return resultUnknown
	}
	if entry.value != noFields {
		for _, f := range db.ParseFields(entry.value) {
			req.SetUserdbField(f)
		}
	}
	return resultOK
}

// settle keeps an answer of the userdb, whose fields are given. If the userdb failed, an
// entry that has expired is better than nothing.
func (m *userRecollection) settle(u *userdb, req *db.Request, r result, fields []db.Field) result {
	switch {
	case !m.kept || req.TempFail:
	case r == resultUnknown:
		m.s.cache.put(m.key, m.text, nil, false)
	case r == resultOK:
		if req.User != m.name {
			fields = append(fields, db.Field{Name: "user", Value: req.User})
		}
		value := db.AppendFields(nil, fields)
		if len(value) == 0 {
			value = []byte(noFields)
		}
		m.s.cache.put(m.key, m.text, value, false)
	case r == resultInternal:
		entry, ok := m.s.cache.get(m.key)
		if !ok {
			break
		}
		req.Userdb.Rollback()
		r = m.use(req, entry)
		req.Infof("Falling back to expired data from cache")
	}
	return r
}
