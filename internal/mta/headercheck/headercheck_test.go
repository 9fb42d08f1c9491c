package headercheck

import (
	"context"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

func TestCheck(t *testing.T) {
	main, err := postfix.Parse(t.TempDir(), "myhostname = mail.example.com\n")
	if err != nil {
		t.Fatal(err)
	}
	open, err := resolve.NewOpener(main, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var log string
	logger := maillog.NewFunc(func(_ maillog.Level, text string) { log += text + "\n" })
	for _, tt := range []struct {
		kind   Context
		result string
		want   Verdict
		log    string
	}{
		{Header, "reject no thanks", Verdict{Reject, "no thanks"}, ""},
		{Header, "REJECT", Verdict{Reject, ""}, ""},
		{Body, "dunno whatever", Verdict{None, "whatever"}, ""},
		{Body, "Ok", Verdict{None, ""}, ""},
		{Header, "IGNORE", Verdict{Ignore, ""}, ""},
		{Header, "REPLACE X: y", Verdict{Replace, "X: y"}, ""},
		{Header, "REPLACE xy", Verdict{}, "bad REPLACE header text \"xy\" in header_checks map -- need \"headername: headervalue\"\n"},
		{Body, "REPLACE xy", Verdict{Replace, "xy"}, ""},
		{Body, "REPLACE", Verdict{}, "REPLACE action without text in header_checks map\n"},
		{Header, "PREPEND a b: c", Verdict{}, "bad PREPEND header text \"a b: c\" in header_checks map -- need \"headername: headervalue\"\n"},
		{Header, "PREPEND a : c", Verdict{Prepend, "a : c"}, ""},
		{Header, "FILTER x", Verdict{}, "bad FILTER command x in header_checks -- need transport:destination\n"},
		{Header, "FILTER", Verdict{}, "missing FILTER command argument in header_checks map\n"},
		{Header, "FILTER smtp:x", Verdict{Filter, "smtp:x"}, ""},
		{Header, "BCC x", Verdict{}, "bad BCC address \"x\" in header_checks map -- need user@domain\n"},
		{Header, "REDIRECT x", Verdict{}, "bad REDIRECT target \"x\" in header_checks map -- need user@domain\n"},
		{Header, "FOO bar", Verdict{}, "unknown command in header_checks map: FOO bar\n"},
	} {
		log = ""
		c, err := New("header_checks", "static:{"+tt.result+"}", open, logger)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Check(context.Background(), tt.kind, []byte("Subject: x"))
		if err != nil || got != tt.want || log != tt.log {
			t.Errorf("%s: got %+v, %v, log %q", tt.result, got, err, log)
		}
	}
	if c, err := New("header_checks", "", open, nil); err != nil || c != nil {
		t.Errorf("no tables: %v, %v", c, err)
	}
	c, err := New("header_checks", "fail:x", open, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Check(context.Background(), Header, []byte("x")); err == nil {
		t.Error("no error of a table that fails")
	}
}
