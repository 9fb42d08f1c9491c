package doveadm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// quotaSets are settings of the plugin with a location. Between "count" and "dict" only the latter
// counts sizes as they are stored.
var quotaSets = []struct{ name, location, settings string }{
	{"count", "sdbox:~/mail", "quota = count:User quota\n quota_vsizes = yes\n quota_rule = *:storage=3:messages=50\n quota_rule2 = Trash:messages=+2\n"},
	{"count-mdbox", "mdbox:~/mail", "quota = count:User quota\n quota_vsizes = yes\n quota_rule = *:messages=17\n quota_rule2 = Trash:ignore\n quota2 = count:Other\n quota2_rule = Work:messages=+5\n"},
	{"count-mbox", "mbox:~/mail:INBOX=~/inbox", "quota = count:User quota\n quota_vsizes = yes\n quota_rule = *:messages=16\n"},
	{"maildir", "maildir:~/Maildir", "quota = maildir:User quota\n quota_rule = *:storage=3\n quota_rule2 = Trash:bytes=+200\n"},
	{"maildir-fs", "maildir:~/Maildir:LAYOUT=fs", "quota = maildir:User quota\n quota_rule = *:messages=16\n quota_rule2 = Trash:ignore\n"},
	{"dict", "sdbox:~/mail", "quota = dict:User quota::file:%h/quota\n quota_rule = *:storage=3\n"},
	{"dict-parameters", "maildir:~/Maildir", "quota = dict:User quota::no-unset:hidden:noenforcing:file:%h/quota\n quota_vsizes = yes\n quota_rule = *:messages=16\n"},
	{"none", "sdbox:~/mail", ""},
}

// TestQuotaIsThatOfTheOriginal compares what both programs say about quotas, and what they keep.
func TestQuotaIsThatOfTheOriginal(t *testing.T) {
	for _, c := range quotaSets {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, c.location)
			a.fill()
			a.appendConf("mail_plugins = quota\nplugin {\n " + c.settings + "}\n")
			b := a.clone()
			for _, args := range readCommands(t, "quota.txt") {
				both(t, a, b, "", args...)
			}
			if diff := cmp.Diff(a.quotaFiles(), b.quotaFiles()); diff != "" {
				t.Errorf("files (-original +ours):\n%s", diff)
			}
		})
	}
}

// quotaFiles is what is kept of usage.
func (h *home) quotaFiles() string {
	h.t.Helper()
	var all strings.Builder
	for _, name := range []string{"quota", "Maildir/maildirsize"} {
		text, err := os.ReadFile(filepath.Join(h.home(), name))
		if err == nil {
			all.WriteString(name + ":\n" + sorted(name, string(text)))
		}
	}
	return all.String()
}

// sorted returns a dictionary with its pairs of lines in order.
func sorted(name, text string) string {
	if name != "quota" {
		return text
	}
	pairs := strings.SplitAfter(text, "\n")
	for i := 0; i+1 < len(pairs); i += 2 {
		pairs[i] = strings.TrimSuffix(pairs[i], "\n") + " " + pairs[i+1]
		pairs[i+1] = ""
	}
	return sortedLines(strings.Join(pairs, ""))
}

// TestQuotaSettingsAreThoseOfTheOriginal compares what is said about settings that are wrong.
func TestQuotaSettingsAreThoseOfTheOriginal(t *testing.T) {
	h := newHome(t, "sdbox:~/mail")
	h.setUp("", "mailbox", "create", "Work")
	h.appendConf("mail_plugins = quota\n")
	for _, options := range []string{
		"quota=foo",
		"quota=count:User quota",
		"quota=count:User quota:nosuch quota_vsizes=yes",
		"quota=count:User quota:hidden:noenforcing quota_vsizes=yes",
		"quota_max_mail_size=1M",
		"quota=count:User quota:ns=Nosuch/ quota_vsizes=yes",
		"quota=count:User quota:ignoreunlimited quota_vsizes=yes",
		"quota=dict:User quota",
		"quota=dict:User quota::nosuch:x",
		"quota=dict:User quota::",
		"quota=maildir:User quota",
		"quota=count quota_vsizes=yes quota_rule=x",
		"quota=count quota_vsizes=yes quota_rule=*:storage=x",
		"quota=count quota_vsizes=yes quota_rule=*:messages=1X",
		"quota=count quota_vsizes=yes quota_rule=*:messages=10%%",
		"quota=count quota_vsizes=yes quota_rule=Work:messages=-100%%",
		"quota=count quota_vsizes=yes quota_rule=*:backend=1S",
		"quota=maildir quota_rule=*:backend=1X",
		"quota=count quota_vsizes=yes quota_rule=*:messages=9 quota_rule2=Work:messages=10%%",
		"quota=count quota_vsizes=yes quota_rule=*:messages=9 quota_rule2=Work:nosuch=1",
		"quota=count quota_vsizes=yes quota_rule=*:storage=+1",
		"quota=count quota_vsizes=yes quota_rule=*:storage=-1",
		"quota=count quota_vsizes=yes quota_warning=storage=1",
		"quota=count quota_vsizes=yes quota_grace=1X",
		"quota=count quota_vsizes=yes quota_set=file:x",
		"quota=count quota_vsizes=yes quota2=foo",
	} {
		var args []string
		for _, o := range strings.Split(strings.ReplaceAll(options, " quota", "\x00quota"), "\x00") {
			if o == "quota" || strings.HasPrefix(o, "quota:") { // of the name "User quota"
				args[len(args)-1] += " " + o
				continue
			}
			args = append(args, "-o", "plugin/"+o)
		}
		args = append(args, "quota", "get")
		if diff := cmp.Diff(h.original("", args...), h.ours("", args...)); diff != "" {
			t.Errorf("doveadm %q (-original +ours):\n%s", args, diff)
		}
	}
}
