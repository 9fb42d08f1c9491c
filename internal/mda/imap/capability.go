package imap

import (
	"strconv"
	"strings"
)

// builtinCapability is what the server can do, in Dovecot's order; LITERAL+ and
// SPECIAL-USE follow where they apply.
const builtinCapability = "IMAP4rev1 IMAP4rev2 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN NAMESPACE " +
	"UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH CONTEXT=SORT LIST-STATUS BINARY MOVE REPLACE SNIPPET=FUZZY PREVIEW=FUZZY PREVIEW STATUS=SIZE SAVEDATE OBJECTID UTF8=ACCEPT INPROGRESS UIDONLY MULTISEARCH"

// features are what capabilities depend on besides the settings of IMAP.
type features struct {
	specialUse bool  // some mailbox has a special use
	acl        bool  // the plugin imap_acl is loaded
	notify     bool  // the settings allow NOTIFY
	quota      bool  // the plugin imap_quota is loaded
	quotaSet   bool  // the user may change quotas
	zlib       bool  // the plugin imap_zlib is loaded
	attributes bool  // there is a dictionary for attributes of mailboxes
	fuzzy      bool  // searches use full-text indexes
	maxMail    int64 // bytes of the largest message that may be stored; 0 for any
}

// Capability returns the capability list for clients that have logged in.
// imap_capability replaces it or, with a leading plus, adds to it.
func Capability(set *Settings, has features) string {
	added, adds := strings.CutPrefix(set.Capability, "+")
	if set.Capability != "" && !adds {
		return set.Capability
	}
	list := builtinCapability
	if adds {
		list += " " + added
	}
	if set.LiteralMinus {
		list += " LITERAL-"
	} else {
		list += " LITERAL+"
	}
	if has.notify {
		list += " NOTIFY"
	}
	if set.URLAuthHost != "" && has.attributes {
		list += " URLAUTH URLAUTH=BINARY"
	}
	if set.Metadata && has.attributes {
		list += " METADATA LIST-METADATA FILTERS"
	}
	if has.zlib {
		list += " COMPRESS=DEFLATE"
	}
	if has.maxMail > 0 {
		list += " APPENDLIMIT=" + strconv.FormatInt(has.maxMail, 10) // RFC 7889
	}
	if has.fuzzy {
		list += " SEARCH=FUZZY"
	}
	if has.specialUse {
		list += " SPECIAL-USE"
	}
	if has.acl {
		list += " ACL RIGHTS=texk"
	}
	if has.quota {
		list += " QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE"
	}
	if has.quotaSet {
		list += " QUOTASET"
	}
	return list
}

// capability is CAPABILITY (RFC 3501 6.1.1).
func (c *command) capability() error {
	return c.write("* CAPABILITY " + c.capabilities() + "\r\n")
}

func (s *session) capabilities() string {
	has := s.srv.has
	has.zlib = s.user.HasPlugin("imap_zlib")
	has.fuzzy = s.user.HasFullText()
	has.maxMail = s.user.MaxMailSize()
	has.acl = s.user.HasPlugin("imap_acl")
	has.quota = s.user.HasPlugin("imap_quota")
	has.quotaSet = has.quota && s.user.SetsQuota()
	return Capability(s.set, has)
}

// greeting answers the command that logged in, which the login process has left
// to this one, or greets a preauthenticated client.
func (s *session) greeting() {
	s.greeted = true
	if s.loginTag == "" {
		s.write("* PREAUTH [CAPABILITY " + s.capabilities() + "] Logged in as " + s.user.Info().Username + "\r\n")
		return
	}
	if s.untaggedCaps {
		s.write("* CAPABILITY " + s.capabilities() + "\r\n" + s.loginTag + " OK Logged in\r\n")
		return
	}
	s.write(s.loginTag + " OK [CAPABILITY " + s.capabilities() + "] Logged in\r\n")
}
