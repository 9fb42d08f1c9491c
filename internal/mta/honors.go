package mta

import "github.com/dovetail-mail/dovetail/internal/conf/postfix"

// programs are those of Postfix that are parts of the mta, by the type of their entries
// in master.cf, and whether each entry has settings of its own.
var programs = map[string]map[string]postfix.Honors{
	"inet":       {"smtpd": postfix.HonorsOptions, "postscreen": postfix.HonorsOptions, "spawn": postfix.HonorsOptions},
	"pass":       {"smtpd": postfix.HonorsOptions},
	"fifo":       {"pickup": postfix.HonorsOptions},
	"unix-dgram": {"postlogd": postfix.HonorsMain},
	"unix": {
		"smtp": postfix.HonorsOptions, "lmtp": postfix.HonorsOptions,
		"error": postfix.HonorsOptions, "discard": postfix.HonorsOptions,
		"anvil": postfix.HonorsMain, "bounce": postfix.HonorsMain, "cleanup": postfix.HonorsOptions,
		"qmgr": postfix.HonorsMain, "trivial-rewrite": postfix.HonorsOptions,
		"pickup": postfix.HonorsOptions, "dnsblog": postfix.HonorsMain, "tlsproxy": postfix.HonorsOptions,
		"local": postfix.HonorsOptions, "virtual": postfix.HonorsOptions, "pipe": postfix.HonorsOptions,
		"spawn": postfix.HonorsOptions,
	},
}

// Honors tells whether an entry of master.cf is served, and with its -o options or
// without.
func Honors(e *postfix.ServiceEntry) postfix.Honors { return programs[e.Type][e.Command] }
