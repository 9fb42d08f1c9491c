package db

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

// talk logs in at a server that says text, whatever it hears.
func talk(text string) (*imapReply, error) {
	c := &imapClient{name: "test", r: bufio.NewReaderSize(strings.NewReader(text), maxIMAPLine), w: io.Discard}
	if err := c.greeting(); err != nil {
		return nil, err
	}
	if c.capabilities == nil {
		if err := c.askCapabilities(); err != nil {
			return nil, err
		}
	}
	return c.login("alice", "secret")
}

func TestIMAPConversation(t *testing.T) {
	const greeting = "* OK [CAPABILITY IMAP4rev1] hello\r\n"
	for text, want := range map[string]string{
		greeting + "1 OK in\r\n":                                      "OK",
		greeting + "* x\r\n1 NO [ALERT] out\r\n":                      "NO",
		greeting + "1 BAD what\r\n":                                   "BAD",
		greeting + "2 OK not asked\r\n":                               "",
		greeting + "1 OKAY\r\n":                                       "",
		greeting + "1 OK in":                                          "", // cut off
		greeting + "+ go on\r\n1 OK in\r\n":                           "",
		greeting + "* BYE\r\n1 OK in\r\n":                             "",
		greeting + strings.Repeat("* x\r\n", 2000) + "1 OK in\r\n":    "",
		greeting + strings.Repeat("x", 20000) + "\r\n":                "",
		"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED]\r\n1 OK in\r\n":    "",
		"* PREAUTH [CAPABILITY IMAP4rev1] in\r\n1 OK in\r\n":          "",
		"* OK hello\r\n* CAPABILITY IMAP4rev1\r\n1 OK\r\n2 OK in\r\n": "OK",
		"* OK hello\r\n1 OK\r\n2 OK in\r\n":                           "",
		"* OK hello\r\n1 NO\r\n2 OK in\r\n":                           "",
	} {
		reply, err := talk(text)
		if want == "" && err == nil || want != "" && (err != nil || reply.status != want) {
			t.Errorf("%.60q: %+v, %v; want %q", text, reply, err, want)
		}
	}
}

// TestIMAPLoginDisabled says a password that must be a literal to a server that takes none.
func TestIMAPLoginDisabled(t *testing.T) {
	var sent strings.Builder
	c := &imapClient{name: "test", r: bufio.NewReaderSize(strings.NewReader("+ go on\r\n+ go on\r\n1 OK in\r\n"), maxIMAPLine), w: &sent}
	c.capabilities = []string{"IMAP4REV1", "LOGINDISABLED"}
	if _, err := c.login("alice", "geheimwört"); err == nil || sent.Len() > 0 {
		t.Errorf("sent %q, %v", sent.String(), err)
	}
}

func FuzzIMAP(f *testing.F) {
	f.Add("* OK [CAPABILITY IMAP4rev1] hello\r\n1 OK in\r\n")
	f.Add("* OK hello\r\n* CAPABILITY IMAP4rev1\r\n1 OK\r\n2 NO [EXPIRED] out\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		reply, err := talk(text)
		if err == nil && reply.status == "OK" && !strings.Contains(strings.ToUpper(text), " OK") {
			t.Errorf("%q is a login", text)
		}
	})
}

func FuzzDictObject(f *testing.F) {
	f.Add(`{"a":"b","n":1.5,"t":true,"nothing":null}`)
	f.Add(`{"a":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		members, err := parseDictObject(text)
		for _, m := range members {
			if err == nil && (m.name == "" || strings.ContainsRune(m.value, 0)) {
				t.Errorf("%+v", members)
			}
		}
	})
}
