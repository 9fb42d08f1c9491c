package imap

import (
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestURLAuthDovecot has Dovecot fetch URLs that this server authorized, and the other way round: both keep
// the key at the same place and make the same tokens.
func TestURLAuthDovecot(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	dict := dir + "/attributes"
	c := newCacheTest(t, map[string]string{"mail_attribute_dict": "file:" + dict, "imap_urlauth_host": "*"})
	c.talk(t, "ours", "APPEND INBOX {12+}\r\nA: b\r\n\r\ntext")
	const rump = "imap://bob@mail/INBOX/;UID=1/;SECTION=TEXT;URLAUTH=user+bob"
	for _, maker := range []string{"ours", "theirs"} {
		c.talk(t, maker, "RESETKEY", "GENURLAUTH "+rump+" INTERNAL")
		if os.Getuid() == 0 { // Dovecot runs as another
			if err := os.Lchown(dict, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(dict)
		found := regexp.MustCompile(`/vendor/vendor\.dovecot/imap-urlauth\n([0-9a-f]{128})\n`).FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s keeps %q, %v", maker, text, err)
		}
		key, _ := hex.DecodeString(string(found[1]))
		url := rump + ":internal:" + hex.EncodeToString(urlauthToken(rump, key))
		for _, who := range []string{"ours", "theirs"} {
			if got, want := c.talk(t, who, "URLFETCH "+url), normalize("* URLFETCH "+url+" {4}\r\ntext\r\n"); !strings.Contains(got, want) {
				t.Errorf("%s of %s: %q, want %q", who, maker, got, want)
			}
		}
	}
}

// FuzzAuthURL looks for URLs whose parsing fails badly, and for tokens of other rumps.
func FuzzAuthURL(f *testing.F) {
	for _, text := range []string{
		"imap://bob@mail.example.org/INBOX/;UID=1;URLAUTH=authuser:internal:0123456789012345678901234567890123456789",
		"imap://bob;AUTH=*@[::1]:143/a/b;UIDVALIDITY=1/;UID=1/;SECTION=1.2/;PARTIAL=0.5;EXPIRE=2099-01-01T00:00:00Z;URLAUTH=submit+b%C3%A4r",
		"imap://0/\x80;URLAUTH=",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseAuthURL(text)
		if err != nil {
			return
		}
		if u.rump != "" && !strings.HasPrefix(text, u.rump) {
			t.Errorf("%q is no beginning of %q", u.rump, text)
		}
		if u.token != nil && !strings.HasPrefix(strings.ToLower(text), strings.ToLower(u.rump+":"+u.mechanism+":")) {
			t.Errorf("%q: rump %q, mechanism %q", text, u.rump, u.mechanism)
		}
	})
}
