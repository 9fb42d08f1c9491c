package doveadm

import (
	"strings"
	"testing"
	"time"
)

func TestQueryNamesMailboxes(t *testing.T) {
	for _, test := range []struct {
		query   string
		names   string // outside of OR and NOT
		byGUID  bool
		matches string // names of mailboxes that may match
	}{
		{"all", "", false, "INBOX Work Work/a"},
		{"mailbox Work seen", "Work", false, "Work"},
		{"mailbox inbox", "inbox", false, "INBOX"},
		{"mailbox W* unseen", "W*", false, "Work Work/a"},
		{"mailbox W% unseen", "W%", false, "Work"},
		{"mailbox inb*", "inb*", false, ""},
		{"not mailbox Work", "", false, "INBOX Work/a"},
		{"mailbox Work or mailbox INBOX", "", false, "INBOX Work"},
		{"mailbox Work or seen", "", false, "INBOX Work Work/a"},
		{"( mailbox Work or mailbox INBOX ) seen", "", false, "INBOX Work"},
		{"( mailbox Work seen ) deleted", "Work", false, "Work"},
		{"mailbox-guid 00 seen", "", true, "INBOX Work Work/a"},
		{"savedatesupported", "", false, "INBOX Work Work/a"},
		{"nil", "", false, ""},
	} {
		q, err := parseQuery(strings.Fields(test.query))
		if err != nil {
			t.Errorf("%s: %v", test.query, err)
			continue
		}
		var may []string
		for _, name := range []string{"INBOX", "Work", "Work/a"} {
			if q.mayMatch(name, '/') {
				may = append(may, name)
			}
		}
		if got := strings.Join(q.patterns, " "); got != test.names || q.byGUID != test.byGUID || strings.Join(may, " ") != test.matches {
			t.Errorf("%s: names %q, by GUID %v, may match %q; want %q, %v, %q", test.query, got, q.byGUID, may,
				test.names, test.byGUID, test.matches)
		}
	}
}

func TestHumanDate(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2024-02-29": "2024-02-29T00:00:00Z", "2024-02-30": "2024-03-01T00:00:00Z", "1-Feb-2024": "2024-02-01T00:00:00Z",
		"0": "1970-01-01T00:00:00Z", "1700000000": "2023-11-14T22:13:20Z", "2weeks": "2026-11-08T12:00:00Z", "1 d": "2026-11-21T12:00:00Z",
		"": "", "x": "", "5x": "", "2024-1-1": "", "+5": "", "99-99-9999": "",
	} {
		got := ""
		if date, _, ok := humanDate(text, now); ok {
			got = date.UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// FuzzQuery reads queries, one word a line, and asks what they can match.
func FuzzQuery(f *testing.F) {
	for _, query := range []string{
		"all", "mailbox\nINBOX\n(\nfrom\na\nor\nnot\nsubject\nb\n)", "modseq\n/flags/\\seen\nall\n1", "uid\n1:*,5", "since\n2weeks\nlarger\n10M",
		"header\nx\n", "guid\nx\nmailbox-guid\n00\noldestonly", "(", ")", "not",
		"mimepart\n(\ntype\ntext\nnot\nchild\nexists\n)", "mimepart\nor\nsize\nlarger\n5\nparent\n(\ndepth\nmin\n1\n)", "mimepart\nfilename\nis\nx",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := parseQuery(strings.Split(query, "\n"))
		if err != nil {
			if fatalOf(err) == nil {
				t.Errorf("%q: %v is not fatal", query, err)
			}
			return
		}
		q.mayMatch("INBOX", '/')
		q.bind("INBOX", '/', [16]byte{}, "sdbox")
	})
}

func TestGetopt(t *testing.T) {
	params := mailParams(flag('7', "mutf7"), flag('8', "utf8"), arguments("mask"))
	for _, test := range []struct{ line, want string }{
		{"-u bob x -7 y", "user=bob mutf7= | x y"},
		{"-ubob -78 -- -x", "user=bob mutf7= utf8= | -x"},
		{"--user=bob --user x", "user=bob user=x |"},
		{"--use bob", "list: option '--use' is ambiguous; possibilities: '--user' '--user-file'"},
		{"--all", "all-users= |"},
		{"-z", "list: invalid option -- 'z'"},
		{"-u", "list: option requires an argument -- 'u'"},
		{"--nosuch", "list: unrecognized option '--nosuch'"},
		{"--mutf7=x", "list: option '--mutf7' doesn't allow an argument"},
		{"--user", "list: option '--user' requires an argument"},
		{"- -7", "mutf7= | -"},
	} {
		var got []string
		g := &getopt{program: "list", params: params, rest: strings.Fields(test.line)}
		g.take = func(p *param, value string) error {
			got = append(got, p.name+"="+value)
			return nil
		}
		if err := g.run(); err != nil {
			got = []string{err.Error()}
		} else {
			got = append(append(got, "|"), g.args...)
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s: %q, want %q", test.line, s, test.want)
		}
	}
}

func TestMatchMask(t *testing.T) {
	for _, test := range []struct {
		name, mask string
		want       bool
	}{
		{"alice", "a*", true}, {"alice", "*", true}, {"alice", "?lice", true}, {"alice", "*c?", true}, {"alice", "a", false},
		{"", "*", true}, {"", "?", false}, {"aab", "*ab", true}, {"alice@x", "*@x*", true}, {"alice", "b*", false},
	} {
		if got := matchMask(test.name, test.mask); got != test.want {
			t.Errorf("%q matches %q: %v", test.name, test.mask, got)
		}
	}
}
