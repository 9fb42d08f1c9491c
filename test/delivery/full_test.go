package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestFullDisk shows deliveries to a file system without space: mail stays in the queue, and
// what is there keeps its length, as with Postfix. With space again all is delivered.
func TestFullDisk(t *testing.T) {
	var release func()
	old := "From old@origin.test  Sun Nov 22 10:00:00 2026\nSubject: old\n\nold\n\n"
	s := &script{
		disk: true,
		main: "alias_maps = texthash:DIR/aliases\nmail_spool_directory = DIR/disk/spool\nmailbox_transport_maps = inline:{dvtlc=box:}\n" +
			"virtual_mailbox_domains = virtual.test\nvirtual_mailbox_base = DIR/disk/virtual\nvirtual_uid_maps = static:21300\nvirtual_gid_maps = static:21301\n" +
			"virtual_mailbox_maps = inline:{box@virtual.test=box, dir@virtual.test=dir/}\n",
		master: "box unix - n n - - local -o home_mailbox=Mail/ -o mailbox_transport_maps=\n",
		files: map[string]string{
			"aliases": "file DIR/disk/out/file\nbox DIR/disk/out/box/\ncommand \"|cat >>DIR/disk/out/command || exit 75\"\n" +
				"several DIR/disk/out/several, DIR/out/elsewhere, out@remote.test\nlist dvtlf, DIR/disk/out/list\nowner-list dvtlb\n",
			"mail/dvtla": old,
		},
		setup: func(t *testing.T, dir string) {
			for name, owner := range map[string]int{"spool": 0, "out": 65534, "virtual": firstUID} {
				path := filepath.Join(dir, "disk", name)
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(path, 0o755); err != nil {
					t.Fatal(err)
				}
				chown(t, path, owner)
			}
			for name, owner := range map[string]int{"spool/dvtla": firstUID, "out/file": 65534, "virtual/box": firstUID} {
				path := filepath.Join(dir, "disk", name)
				harness.Write(t, path, old)
				chown(t, path, owner)
			}
			home := filepath.Join(dir, "home/dvtlc/Mail")
			if err := os.Symlink(filepath.Join(dir, "disk/out"), home); err != nil {
				t.Fatal(err)
			}
			release = harness.FillDisk(t, filepath.Join(dir, "disk"))
		},
		cases: []message{
			{name: "in what is left of a page", to: "<dvtla@local.test>"},
			{name: "mailbox", to: "<dvtla@local.test>", content: bulk},
			{name: "new mailbox", to: "<dvtlb@local.test>", content: bulk},
			{name: "maildir of a user", to: "<dvtlc@local.test>", content: bulk},
			{name: "file of an alias", to: "<file@local.test>", content: bulk},
			{name: "maildir of an alias", to: "<box@local.test>", content: bulk},
			{name: "command", to: "<command@local.test>", content: bulk},
			{name: "one of several", to: "<several@local.test>", content: bulk},
			{name: "list", to: "<list@local.test>", content: bulk},
			{name: "virtual mailbox", to: "<box@virtual.test>", content: bulk},
			{name: "virtual maildir", to: "<dir@virtual.test>", content: bulk},
			{name: "space again", to: "<dvtla@local.test>", before: func(tr *harness.Transport) {
				release()
				tr.Postqueue(t, "-f")
				tr.Empty(t)
			}},
		},
	}
	compare(t, s)
}

// TestBounceFullDisk fills the disk of the queue before a failure is known. Its sender is told
// once there is space, exactly once.
func TestBounceFullDisk(t *testing.T) {
	const messages = 8
	hop := harness.StartNextHop(t, &harness.NextHop{Replies: map[string]string{"hard": "550 5.1.1 no such user"}})
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{
		Relay: "smtp:[127.0.0.1]:" + hop.Port(),
		Main: "myorigin = local.test\ndefer_transports = smtp\nmessage_size_limit = 0\nvirtual_mailbox_limit = 0\nmailbox_size_limit = 0\n" +
			"bounce_size_limit = 10000000\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\nqueue_run_delay = 1s\n",
	})
	spool := filepath.Join(tr.Dir, "spool")
	harness.SmallDisk(t, spool, 64)
	tr.Start(t)
	content := letter + strings.Repeat("a line of sixty characters that is one of a great many....\r\n", 50_000)
	for n := range messages {
		send(t, tr, &message{to: "<hard@remote.test>", from: fmt.Sprintf("<sender%d@origin.test>", n), content: content})
	}
	release := harness.FillDisk(t, spool)
	harness.Run(t, "", harness.Binary(t), "postconf", "-c", tr.Config, "-e", "defer_transports =")
	harness.Run(t, "", harness.Binary(t), "postfix", "-c", tr.Config, "reload")
	harness.Eventually(t, "a failure that cannot be told", func() bool {
		log := read(t, tr.Log)
		return strings.Contains(log, "status=bounced") && strings.Contains(log, ": 452 4.3.1 Error: insufficient system storage")
	})
	tr.KillAll()
	tr.Start(t)
	release()
	tr.Empty(t)
	told := make(map[string]int)
	for _, l := range hop.Letters() {
		if !strings.HasPrefix(l.From, "MAIL FROM:<>") || !strings.Contains(l.Content, "no such user") {
			t.Errorf("%s to %q is no report of a failure", l.From, l.To)
		}
		to, _, _ := strings.Cut(l.To[0], "@")
		told[to]++
	}
	for n := range messages {
		if to := fmt.Sprintf("RCPT TO:<sender%d", n); told[to] != 1 {
			t.Errorf("%s: %d reports", to, told[to])
		}
	}
}
