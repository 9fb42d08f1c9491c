package bounce

import (
	"fmt"
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/bouncetemplate"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// A kind is one of the notifications.
type kind struct {
	name   string // in the log: "non-delivery", "delay", "delivery status"
	class  string // notify class of the postmaster's copy
	doing  string // what was done to the sender when that copy failed
	notify uint8  // what NOTIFY must say
	action string // RFC 3464 2.3.3, where the outcome names none
	part   string // Content-Description of the third part
	alone  bool   // one recipient, whose original address is shown even if it is the same, as Postfix's bounce_one does
	whole  bool   // the message itself is returned, not only its header
	until  bool   // says until when it is tried

	template bouncetemplate.Template
	text     string // of the template, expanded
}

// makeKinds fills in the notifications, with the texts of
// bounce_template_file. A template that is wrong is reported, and the one built
// in is used, as bounce(8) does.
func (b *Bouncer) makeKinds(c *Config) error {
	b.failure = kind{name: "non-delivery", class: "bounce", doing: "bouncing to", notify: queue.NotifyFailure,
		action: "failed", part: "Undelivered Message", whole: true}
	b.delay = kind{name: "delay", class: "delay", doing: "warning", notify: queue.NotifyDelay,
		action: "delayed", part: "Undelivered Message", until: true}
	b.success = kind{name: "delivery status", notify: queue.NotifySuccess, action: "delivered", part: "Message"}
	b.verify = b.success
	warn := func(text string) { b.log.Warningf("%s", text) }
	set, err := templates(c, b.set.TemplateFile, warn)
	if err != nil {
		return err
	}
	b.failure.template, b.delay.template = set.Failure, set.Delay
	b.success.template, b.verify.template = set.Success, set.Verify
	for _, k := range []*kind{&b.failure, &b.delay, &b.success, &b.verify} {
		if k.text, err = k.template.Expand(c.Main, warn); err != nil {
			return err
		}
	}
	b.doubled = b.failure
	b.doubled.class = "2bounce"
	return nil
}

// templates reads a bounce_template_file.
func templates(c *Config, path string, warn func(string)) (*bouncetemplate.Set, error) {
	if path == "" {
		return bouncetemplate.Builtin(), nil
	}
	read := c.ReadFile
	if read == nil {
		read = os.ReadFile
	}
	text, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("bounce_template_file: %w", err)
	}
	return bouncetemplate.Parse(path, string(text), warn)
}

// subject is that of a notification.
func (k *kind) subject(postmaster bool) string {
	if postmaster && k.template.PostmasterSubject != "" {
		return k.template.PostmasterSubject
	}
	return k.template.Subject
}

// ascii says whether the text of the template is plain.
func (k *kind) ascii() bool { return strings.EqualFold(k.template.Charset, "us-ascii") }
