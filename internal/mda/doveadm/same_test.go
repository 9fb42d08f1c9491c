package doveadm

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readCommands reads a file of command lines: words, or Go strings in quotes.
func readCommands(t *testing.T, name string) (list [][]string) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "same", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		args, err := splitWords(line)
		if err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		list = append(list, args)
	}
	return list
}

func splitWords(line string) (words []string, err error) {
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		word, rest, _ := strings.Cut(line, " ")
		if line[0] == '"' {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, err
			}
			if word, err = strconv.Unquote(quoted); err != nil {
				return nil, err
			}
			rest = line[len(quoted):]
		}
		words = append(words, word)
		line = rest
	}
	return words, nil
}

// unordered returns an outcome in which the order of mailboxes does not count: that of
// the original is the order of its list index.
func unordered(o outcome) outcome {
	switch {
	case strings.Contains(o.Out, "\f\n"):
		o.Out = sortedRecords(o.Out + "\f\n")
	default:
		o.Out = sortedLines(o.Out)
	}
	o.Err = sortedLines(o.Err)
	return o
}

// odd are messages that are not simple.
var odd = []string{
	strings.ReplaceAll(`Subject: =?utf-8?q?one=C3=BC?= x
 folded
From: "J. Doe" <j@d.e>, =?utf-8?q?D=C3=B6?= <x@y.z>
Subject: second
X-Tab:	a	b
Date: Mon, 1 Jan 2024 10:00:00 -0130
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=bb

preamble
--bb
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9 text   more
second line

--bb
Content-Type: message/rfc822

Subject: inner
From: a@b

inner body
--bb
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

aGVsbG8KAAEC
--bb--
`, "\r", ""),
	"Subject: html\nFrom: group: a@b, c@d;, e@f\nTo: undisclosed-recipients:;\nDate: nonsense\nContent-Type: text/html; charset=utf-8\n\n" +
		"<html><head><style>p { color: red }</style><title>Titel</title></head><body>Hallo &auml;&nbsp;&#x263a;&nosuch; <b>Welt</b><!-- not -- this -->!" +
		"<script>if (a < b) x()</script><blockquote>zitiert</blockquote>Ende</body></html>\n",
	"Subject: quoted\n\n> only\n> quoted\n",
	"Subject: both\n\n> quoted\n\nown   words\tand\n\nmore " + strings.Repeat("lang ", 100) + "\n",
	"no header at all\n",
	"Subject: no body\n",
	"Subject: crlf\r\nFrom: =?iso-8859-1?Q?J=F6rg?= <j@x>\r\n\r\nzeile\r\nzwei\r\n",
	"Subject: 8bit \xc3\xa4 \xff\nFrom: \"J. D\xc3\xb6e\" <a@b.c>, d@e.f\nTo: x@y\nDate: Tue, 29 Feb 2000 23:59:60 +1400\nContent-Type: text/plain; charset=koi8-r\n\n\xf0\xd2\xc9\xd7\xc5\xd4\n",
	"Subject: attachment first\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nAAAA\n--x\n\nplain after\n--x--\n",
}

// fillOdd makes a mailbox with the odd messages.
func (h *home) fillOdd() {
	h.t.Helper()
	h.setUp("", "mailbox", "create", "Odd")
	for _, text := range odd {
		h.setUp(text, "save", "-m", "Odd")
	}
}

// some leaves out most of the commands for the formats that are not tried with all.
func some(location string, commands [][]string) [][]string {
	if location == formats[0] {
		return commands
	}
	var few [][]string
	for i := len(location) % 4; i < len(commands); i += 4 {
		few = append(few, commands[i])
	}
	return few
}

// TestReadingIsThatOfTheOriginal compares commands that change nothing.
func TestReadingIsThatOfTheOriginal(t *testing.T) {
	for _, location := range formats {
		t.Run(location, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, location)
			h.fill()
			h.fillOdd()
			for _, name := range []string{"search.txt", "fetch.txt", "list.txt"} {
				for _, args := range some(location, readCommands(t, name)) {
					if location[:4] == "mbox" && slices.Contains(args, "tab") && slices.Contains(args, "fetch") {
						continue // the original puts a tab between all pieces it reads
					}
					want := h.original("", args...)
					if want.Code < 0 {
						continue // the original has crashed
					}
					if diff := cmp.Diff(unordered(want), unordered(h.ours("", args...))); diff != "" {
						t.Errorf("doveadm %q (-original +ours):\n%s", args, diff)
					}
				}
			}
		})
	}
}

// TestFetchOfOddMessages compares every field of messages that are not simple.
func TestFetchOfOddMessages(t *testing.T) {
	h := newHome(t, "mdbox:~/mail")
	h.fillOdd()
	var names []string
	for _, f := range fetchFields {
		names = append(names, f.name)
	}
	names = append(names, strings.Fields(`hdr.subject hdr.subject.utf8 hdr.from hdr.from.utf8 hdr.from.address hdr.from.address_name
		hdr.from.address_name.utf8 hdr.to.address hdr.x-tab hdr.date body.1 body.1.mime body.2 body.2.header body.2.text body.2.1 body.header body.text
		binary.1 binary.2 binary.3 binary.4`)...)
	for _, name := range names {
		for n := range odd {
			args := []string{"-f", "json", "fetch", name, "mailbox", "Odd", "uid", strconv.Itoa(n + 1)}
			want, got := h.original("", args...), h.ours("", args...)
			if want.Code < 0 {
				continue // the original has crashed
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s of message %d (-original +ours):\n%s", name, n+1, diff)
			}
		}
	}
}

// TestMailboxesAreThoseOfTheOriginal gives both programs the same mail and the same
// commands about mailboxes.
func TestMailboxesAreThoseOfTheOriginal(t *testing.T) {
	for _, location := range formats {
		t.Run(location, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, location)
			a.fill()
			b := a.clone()
			commands := readCommands(t, "mailbox.txt")
			for _, args := range commands {
				want, got := unordered(a.original("", args...)), unordered(b.ours("", args...))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("doveadm %q (-original +ours):\n%s", args, diff)
				}
			}
			if diff := cmp.Diff(a.lists(), b.lists()); diff != "" {
				t.Errorf("mailboxes afterwards (-original +ours):\n%s", diff)
			}
		})
	}
}

// lists are the names that the original lists.
func (h *home) lists() string {
	h.t.Helper()
	return sortedLines(h.setUp("", "mailbox", "list")) + "--\n" + sortedLines(h.setUp("", "mailbox", "list", "-s"))
}

const metadataConf = `
mail_attribute_dict = file:%h/attributes
mail_server_admin = mailto:admin@example.org
namespace inbox {
  mailbox Spec {
    special_use = \Sent
    comment = configured
  }
}
`

// TestMetadataIsThatOfTheOriginal compares the commands about metadata, the
// dictionary and what the index says of it.
func TestMetadataIsThatOfTheOriginal(t *testing.T) {
	for _, location := range formats {
		t.Run(location, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, location)
			a.fill()
			a.appendConf(metadataConf)
			b := a.clone()
			for _, args := range readCommands(t, "metadata.txt") {
				want, got := unordered(a.original("", args...)), unordered(b.ours("", args...))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("doveadm %q (-original +ours):\n%s", args, diff)
				}
			}
			for _, args := range [][]string{
				{"mailbox", "status", "highestmodseq", "Work"}, {"mailbox", "metadata", "list", "Work"},
				{"mailbox", "metadata", "get", "Work", "/private/comment"}, {"mailbox", "metadata", "get", "-s", "", "/private/comment"},
			} {
				if diff := cmp.Diff(sortedLines(a.setUp("", args...)), sortedLines(b.setUp("", args...))); diff != "" {
					t.Errorf("afterwards doveadm %q says (-original's mail +our mail):\n%s", args, diff)
				}
			}
			if diff := cmp.Diff(a.attributes(), b.attributes()); diff != "" {
				t.Errorf("dictionary (-original +ours):\n%s", diff)
			}
		})
	}
}

func (h *home) appendConf(text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, "dovecot.conf")
	old, err := os.ReadFile(path)
	h.must(err)
	h.must(os.WriteFile(path, append(old, text...), 0o644))
}

// attributes are the pairs of lines of the dictionary, sorted.
func (h *home) attributes() string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.home(), "attributes"))
	h.must(err)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	var pairs []string
	for pair := range slices.Chunk(lines, 2) {
		pairs = append(pairs, fmt.Sprintf("%q\n", pair))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "")
}
