package delivery

import (
	"path/filepath"
	"strings"
	"testing"
)

// bulk is a letter of about 12 KB.
var bulk = letter + strings.Repeat("a line of sixty characters that is one of a great many....\r\n", 200)

// TestHomeMailbox shows Maildirs in home directories, and luser_relay.
func TestHomeMailbox(t *testing.T) {
	compare(t, &script{
		main: "home_mailbox = Mail/in/\nrecipient_delimiter = +-\nluser_relay = relay+$local@remote.test\nprepend_delivered_header = forward\n" +
			"require_home_directory = yes\nforward_path =\nenable_original_recipient = no\n",
		setup: func(t *testing.T, dir string) { chmod(t, filepath.Join(dir, "home/dvtlb"), 0o500) },
		cases: []message{
			{name: "maildir", to: "<dvtla@local.test>"},
			{name: "extension", to: "<dvtla-ext+more@local.test>"},
			{name: "no access", to: "<dvtlb@local.test>"},
			{name: "unknown", to: "<nosuch@local.test>"},
			{name: "unknown with extension", to: "<nosuch-ext@local.test>"},
			{name: "request", to: "<list-request@local.test>"},
			{name: "postmaster", to: "<postmaster-x@local.test>"},
		},
	})
}

// TestMailboxFile shows mailbox files that cannot be written, and limits.
func TestMailboxFile(t *testing.T) {
	compare(t, &script{
		main: "message_size_limit = 20000\nmailbox_size_limit = 20000\ndeliver_lock_attempts = 1\ndeliver_lock_delay = 1s\n" +
			"alias_maps = texthash:DIR/aliases\nsoft_bounce = no\n",
		files: map[string]string{
			"aliases":         "box DIR/out/box/\nfile DIR/out/file\n",
			"mail/dvtlb":      "",
			"mail/dvtlc":      "somebody else's\n",
			"mail/dvtlf":      "",
			"mail/dvtlf.lock": "",
		},
		setup: func(t *testing.T, dir string) { chown(t, filepath.Join(dir, "mail/dvtlb"), firstUID+1) },
		cases: []message{
			{name: "fits", to: "<dvtla@local.test>", content: bulk},
			{name: "full", to: "<dvtla@local.test>", content: bulk},
			{name: "still fits", to: "<dvtla@local.test>"},
			{name: "of the user", to: "<dvtlb@local.test>"},
			{name: "of somebody else", to: "<dvtlc@local.test>"},
			{name: "locked", to: "<dvtlf@local.test>"},
			{name: "file fits", to: "<file@local.test>", content: bulk},
			{name: "file full", to: "<file@local.test>", content: bulk},
		},
	})
}

// TestMailboxCommand shows commands and transports in place of mailboxes.
func TestMailboxCommand(t *testing.T) {
	compare(t, &script{
		main: "mailbox_command = cat >DIR/out/$LOGNAME; env | sort | grep -v -e ^_= -e ^SHLVL= >>DIR/out/$LOGNAME\n" +
			"mailbox_command_maps = inline:{dvtlb=/bin/false}\nmailbox_transport_maps = inline:{dvtlc=capture:}\n" +
			"fallback_transport_maps = inline:{old=capture:elsewhere}\nfallback_transport = error:5.1.6 gone\n" +
			"command_execution_directory = $home\nlocal_command_shell = /bin/sh -c\ncommand_expansion_filter = abcdefghijklmnopqrstuvwxyz/.@\n" +
			"export_environment = LANG MAIL_CONFIG X=y\nrecipient_delimiter = +\n",
		cases: []message{
			{name: "command", to: "<dvtla@local.test>"},
			{name: "extension", to: "<dvtla+EXT`id`@local.test>"},
			{name: "command of a table", to: "<dvtlb@local.test>"},
			{name: "transport of a table", to: "<dvtlc@local.test>"},
			{name: "fallback of a table", to: "<old@local.test>"},
			{name: "fallback", to: "<nosuch@local.test>"},
		},
	})
}

// TestTimeLimit shows that commands end with all they have started.
func TestTimeLimit(t *testing.T) {
	compare(t, &script{
		main:  "alias_maps = texthash:DIR/aliases\ncommand_time_limit = 1s\n",
		files: map[string]string{"aliases": "slow \"|echo before; sleep 1000 & sleep 1000\"\nholder \"|sleep 1000 & exit 0\"\n"},
		cases: []message{{name: "slow", to: "<slow@local.test>"}, {name: "background", to: "<holder@local.test>"}},
	})
}

// TestVirtual shows virtual(8).
func TestVirtual(t *testing.T) {
	compare(t, &script{
		main: "virtual_mailbox_domains = virtual.test\nvirtual_transport = virtual\nvirtual_mailbox_base = DIR/out\n" +
			"virtual_mailbox_maps = texthash:DIR/boxes\nvirtual_uid_maps = texthash:DIR/uids static:21300\nvirtual_gid_maps = static:21301\n" +
			"message_size_limit = 20000\nvirtual_mailbox_limit = 20000\nrecipient_delimiter = +\nunknown_virtual_mailbox_reject_code = 450\nsmtpd_reject_unlisted_recipient = no\n",
		files: map[string]string{
			"boxes": "dir@virtual.test dir/sub/\nbox@virtual.test box\nlow@virtual.test low\nword@virtual.test word\nother@virtual.test other\nfull@virtual.test full/\n" +
				"deep@virtual.test no/such/box\n@all.test all/\n",
			"uids": "low@virtual.test 99\nword@virtual.test nobody\n",
		},
		cases: []message{
			{name: "maildir", to: "<dir@virtual.test>"},
			{name: "maildir, upper case and extension", to: "<DIR+Ext@virtual.test>"},
			{name: "mailbox", to: "<box@virtual.test>"},
			{name: "mailbox again", to: "<box@virtual.test>", from: "<>"},
			{name: "unknown", to: "<nosuch@virtual.test>"},
			{name: "low uid", to: "<low@virtual.test>"},
			{name: "no uid", to: "<word@virtual.test>"},
			{name: "no directory", to: "<deep@virtual.test>"},
			{name: "large", to: "<box@virtual.test>", content: bulk},
			{name: "too large", to: "<box@virtual.test>", content: bulk},
			{name: "loop", to: "<dir@virtual.test>", content: "Delivered-To: dir@virtual.test\r\n" + letter},
		},
	})
}

// TestPipe shows pipe(8).
func TestPipe(t *testing.T) {
	entry := func(name, args string) string { return name + " unix - n n - - pipe " + args + "\n" }
	compare(t, &script{
		main: "transport_maps = inline:{all.test=all:, flags.test=flags:Next.Hop, small.test=small:, bad.test=bad:, nouser.test=nouser:, root.test=root:, " +
			"fail.test=fail:, dsn.test=dsn:, none.test=none:, macro.test=macro:, time.test=time:, dir.test=dir:, say.test=say:}\n" +
			"recipient_delimiter = +\nflags_destination_recipient_limit = 1\ntime_time_limit = 1s\nmaximal_queue_lifetime = 1d\n",
		master: entry("all", "flags= user=dvtla argv=DIR/show ${sender} ${recipient} ${user}/${extension} ${mailbox} ${domain} ${nexthop} ${size} "+
			"${original_recipient} ${client_address} ${client_helo} ${client_protocol} ${sasl_method}x {with blanks}") +
			entry("flags", "flags=BDFORXhuq.> user=dvtla:dvtlb null_sender= eol=\\r\\n argv=DIR/show ${sender} ${recipient} ${nexthop} $(user)") +
			entry("small", "user=dvtla size=300 argv=DIR/show") +
			entry("bad", "flags=Z user=dvtla argv=DIR/show") +
			entry("nouser", "argv=DIR/show") +
			entry("root", "user=root argv=DIR/show") +
			entry("fail", "flags=X user=dvtla argv=/bin/false") +
			entry("dsn", "user=dvtla argv=/bin/echo 2.1.1 fine ${recipient}") +
			entry("say", "user=dvtla argv=DIR/say") +
			entry("none", "user=dvtla argv=DIR/nothing") +
			entry("macro", "user=dvtla argv=DIR/show $nonsense") +
			entry("time", "user=dvtla argv=/bin/sleep 1000") +
			entry("dir", "user=dvtla directory=DIR/home/dvtla argv=/bin/pwd"),
		files: map[string]string{
			"show": "#!/bin/sh\n{ id -un; id -gn; for a; do echo \"<$a>\"; done; cat; } >>DIR/out/shown\n",
			"say":  "#!/bin/sh\necho 4.2.2 the box is full\nexit 1\n",
		},
		setup: func(t *testing.T, dir string) {
			chmod(t, filepath.Join(dir, "show"), 0o755)
			chmod(t, filepath.Join(dir, "say"), 0o755)
			chmod(t, filepath.Join(dir, "out"), 0o1777)
		},
		cases: []message{
			{name: "macros", to: "<User+Ext@all.test>"},
			{name: "macros, no user", to: "<+ext@all.test>"},
			{name: "flags", to: `<"Us er"@Flags.test>`, from: `<"a b"@origin.test>`},
			{name: "flags, null sender", to: "<user@flags.test>", from: "<>"},
			{name: "flags, loop", to: "<user@flags.test>", content: "Delivered-To: user@flags.test\r\n" + letter},
			{name: "too large", to: "<user@small.test>"},
			{name: "unknown flag", to: "<user@bad.test>"},
			{name: "no user", to: "<user@nouser.test>"},
			{name: "root", to: "<user@root.test>"},
			{name: "fails", to: "<user@fail.test>"},
			{name: "says", to: "<user@dsn.test>"},
			{name: "says why", to: "<user@say.test>"},
			{name: "no program", to: "<user@none.test>"},
			{name: "unknown macro", to: "<user@macro.test>"},
			{name: "time limit", to: "<user@time.test>"},
			{name: "directory", to: "<user@dir.test>"},
		},
	})
}
