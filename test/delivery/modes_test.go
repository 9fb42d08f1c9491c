package delivery

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// nestedLists are lists in lists, with owners and without.
const nestedLists = `inner out@remote.test, nosuch, "|exit 70"
owner-inner boss@remote.test, second@remote.test
outer plain, dvtla, "|exit 69"
owner-outer chief@remote.test
plain out2@remote.test, dvtlb, "|exit 68", inner
single "|exit 67"
owner-single boss@remote.test
`

// TestExpandOwnerAlias shows whom failures of lists are told to, and the senders of what is
// forwarded, with expand_owner_alias.
func TestExpandOwnerAlias(t *testing.T) { ownerAliases(t, "expand_owner_alias = yes\n") }

// TestResetOwnerAlias shows the same with reset_owner_alias.
func TestResetOwnerAlias(t *testing.T) { ownerAliases(t, "reset_owner_alias = yes\n") }

func ownerAliases(t *testing.T, main string) {
	compare(t, &script{
		main:  "alias_maps = texthash:DIR/aliases\n" + main,
		files: map[string]string{"aliases": nestedLists},
		cases: []message{
			{name: "list", to: "<inner@local.test>"},
			{name: "list in an alias in a list", to: "<outer@local.test>"},
			{name: "list in an alias", to: "<plain@local.test>"},
			{name: "command only", to: "<single@local.test>"},
		},
	})
}

// TestDeliveryLocks has somebody else lock mailboxes, in each way that mailbox_delivery_lock
// knows.
func TestDeliveryLocks(t *testing.T) {
	var dir string
	var held *os.File
	release := func(*harness.Transport) {
		held.Close() //nolint:errcheck // for its lock
	}
	hold := func(user string, lock func(fd int) error) func(*harness.Transport) {
		return func(*harness.Transport) {
			var err error
			if held, err = os.OpenFile(filepath.Join(dir, "mail", user), os.O_RDWR, 0); err != nil {
				t.Fatal(err)
			}
			if err := lock(int(held.Fd())); err != nil {
				t.Fatal(err)
			}
		}
	}
	flock := func(fd int) error { return unix.Flock(fd, unix.LOCK_EX) }
	fcntl := func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	service := func(name, locks string) string {
		return name + " unix - n n - - local -o mailbox_transport_maps= -o {mailbox_delivery_lock = " + locks + "}\n"
	}
	compare(t, &script{
		main:   "deliver_lock_attempts = 1\ndeliver_lock_delay = 1s\nmailbox_transport_maps = inline:{dvtla=flock:, dvtlb=fcntl:, dvtlc=dotlock:, dvtlf=all:}\n",
		master: service("flock", "flock") + service("fcntl", "fcntl") + service("dotlock", "dotlock") + service("all", "fcntl, flock, dotlock"),
		files:  map[string]string{"mail/dvtla": "", "mail/dvtlb": "", "mail/dvtlc": "", "mail/dvtlf": ""},
		setup: func(t *testing.T, at string) {
			dir = at
			for i, name := range users {
				chown(t, filepath.Join(dir, "mail", name), firstUID+i)
			}
		},
		cases: []message{
			{name: "flock", to: "<dvtla@local.test>"},
			{name: "fcntl", to: "<dvtlb@local.test>"},
			{name: "dotlock", to: "<dvtlc@local.test>"},
			{name: "all", to: "<dvtlf@local.test>"},
			{name: "flock, locked by flock", to: "<dvtla@local.test>", before: hold("dvtla", flock)},
			{name: "flock, locked by fcntl", to: "<dvtla@local.test>", before: func(tr *harness.Transport) { release(tr); hold("dvtla", fcntl)(tr) }},
			{name: "fcntl, locked by fcntl", to: "<dvtlb@local.test>", before: func(tr *harness.Transport) { release(tr); hold("dvtlb", fcntl)(tr) }},
			{name: "fcntl, locked by flock", to: "<dvtlb@local.test>", before: func(tr *harness.Transport) { release(tr); hold("dvtlb", flock)(tr) }},
			{name: "all, locked by flock", to: "<dvtlf@local.test>", before: func(tr *harness.Transport) { release(tr); hold("dvtlf", flock)(tr) }},
			{name: "all, locked by fcntl", to: "<dvtlf@local.test>", before: func(tr *harness.Transport) { release(tr); hold("dvtlf", fcntl)(tr) }},
			{name: "all, free again", to: "<dvtlf@local.test>", before: release},
		},
	})
}

// TestChroot shows commands of pipe(8) with a root of their own.
func TestChroot(t *testing.T) {
	compare(t, &script{
		main: "transport_maps = inline:{jail.test=jail:, sub.test=sub:, none.test=none:}\n",
		master: "jail unix - n n - - pipe user=dvtla chroot=DIR/jail argv=/bin/pwd\n" +
			"sub unix - n n - - pipe user=dvtla chroot=DIR/jail directory=/sub argv=/bin/pwd\n" +
			"none unix - n n - - pipe user=dvtla chroot=DIR/nojail argv=/bin/pwd\n",
		setup: func(t *testing.T, dir string) {
			jail := filepath.Join(dir, "jail")
			if err := os.MkdirAll(filepath.Join(jail, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
			libraries := regexp.MustCompile(`/\S+\.so\S*`).FindAllString(harness.Run(t, "", "ldd", "/bin/pwd"), -1)
			for _, file := range append(libraries, "/bin/pwd") {
				harness.Run(t, "", "install", "-D", file, jail+file)
			}
		},
		cases: []message{
			{name: "root", to: "<x@jail.test>"},
			{name: "directory", to: "<x@sub.test>"},
			{name: "no such root", to: "<x@none.test>"},
		},
	})
}

// TestReloadAddsLocal has local(8) enter the configuration while the service runs.
func TestReloadAddsLocal(t *testing.T) {
	dir := harness.Dir(t)
	makeUser(t, users[0], firstUID, filepath.Join(dir, "home"))
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{
		Main: "mydestination = local.test\nlocal_recipient_maps =\nmaximal_backoff_time = 4000s\nmail_spool_directory = " + dir + "\n",
	})
	master := filepath.Join(tr.Config, "master.cf")
	with := read(t, master)
	without := regexp.MustCompile(`(?m)^(local|virtual) .*\n`).ReplaceAllString(with, "")
	if with == without {
		t.Fatal("master.cf has no local")
	}
	harness.Write(t, master, without)
	tr.Start(t)
	quiet(t, tr, send(t, tr, &message{to: "<dvtla@local.test>"}))
	if log := read(t, tr.Log); !strings.Contains(log, "status=deferred (mail transport unavailable)") {
		t.Errorf("mail for a transport that is missing was not deferred:\n%s", log)
	}
	harness.Write(t, master, with)
	harness.Run(t, "", harness.Binary(t), "postfix", "-c", tr.Config, "reload")
	harness.Eventually(t, "the reload", func() bool { return strings.Contains(read(t, tr.Log), ": reload -- version ") })
	tr.Postqueue(t, "-f")
	tr.Empty(t)
	if box := read(t, filepath.Join(dir, users[0])); !strings.Contains(box, "Subject: a letter") {
		t.Errorf("the mailbox has %q", box)
	}
}

// TestPassedOnForEver has local(8) pass mail on to itself, which Postfix does until it has no
// process left. Here it is deferred.
func TestPassedOnForEver(t *testing.T) {
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{
		Main: "mydestination = local.test\nlocal_recipient_maps =\nmaximal_backoff_time = 4000s\nmailbox_transport = local\n",
	})
	tr.Start(t)
	quiet(t, tr, send(t, tr, &message{to: "<root@local.test>"}))
	log := read(t, tr.Log)
	for _, want := range []string{"<root@local.test> is passed on for ever: see mailbox_transport", "status=deferred (mail system configuration error)"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

// TestSingleUser has the service run as one user, as without root. It writes mailboxes, and does
// not do with its own rights what .forward files of others say.
func TestSingleUser(t *testing.T) {
	dir := harness.Dir(t)
	home := filepath.Join(dir, "home")
	makeUser(t, users[0], firstUID, home)
	harness.Write(t, filepath.Join(home, ".forward"), "\"|touch "+dir+"/executed\"\n")
	chmod(t, dir, 0o755)
	chown(t, filepath.Join(home, ".forward"), firstUID)
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{
		Main: "mydestination = local.test\nlocal_recipient_maps =\nmail_spool_directory = " + dir + "\n",
	})
	tr.Start(t, "DOVETAIL_SINGLE_USER=1")
	quiet(t, tr, send(t, tr, &message{to: "<dvtla@local.test>"}))
	if _, err := os.Stat(filepath.Join(dir, "executed")); err == nil {
		t.Error("a command of a user was executed as the service's user")
	}
	if box := read(t, filepath.Join(dir, users[0])); !strings.Contains(box, "Subject: a letter") {
		t.Errorf("the mailbox has %q", box)
	}
}
