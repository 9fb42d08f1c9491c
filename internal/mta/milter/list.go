package milter

import (
	"fmt"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A List is the filters that a parameter names, with what is to be known of them.
type List struct {
	services []service
	macros   [stages][]string
	defaults map[string]string // by name in braces
	set      *Settings
	dir      string // of unix sockets
	soft     bool   // soft_bounce
	log      *maillog.Logger
}

// A service is one filter.
type service struct {
	name                      string // as configured
	connect, command, content time.Duration
	protocol                  string
	action                    string
}

// Disabled is the value of smtpd_milter_maps for clients without filters.
const Disabled = "DISABLE"

// Parse reads a list of filters, the value of param. It returns nil for an empty one.
func Parse(param, value string, set *Settings, core *postfix.Core, log *maillog.Logger) (*List, error) {
	l := &List{set: set, macros: set.macros(), dir: core.QueueDirectory, soft: core.SoftBounce, log: log}
	for _, item := range postfix.SplitList(value) {
		s, err := parseService(item, set)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", param, err)
		}
		l.services = append(l.services, s)
	}
	if len(l.services) == 0 {
		return nil, nil
	}
	var err error
	l.defaults, err = parseDefaults(set.MacroDefaults)
	return l, err
}

// parseService reads "endpoint" or "{ endpoint, name=value ... }".
func parseService(item string, set *Settings) (service, error) {
	s := service{
		name: item, connect: set.ConnectTimeout, command: set.CommandTimeout, content: set.ContentTimeout,
		protocol: set.Protocol, action: set.DefaultAction,
	}
	if item[0] != '{' {
		return s, nil
	}
	if item[len(item)-1] != '}' {
		return s, fmt.Errorf("milter service syntax error: missing '}' in \"%s\"", item)
	}
	words := postfix.SplitList(item[1 : len(item)-1])
	if len(words) == 0 {
		return s, fmt.Errorf("empty milter definition: \"%s\"", item)
	}
	s.name = words[0]
	for _, word := range words[1:] {
		if err := s.option(word); err != nil {
			return s, err
		}
	}
	return s, nil
}

// option sets what a filter has instead of a parameter. A value with blanks stands in
// braces: "{ name = value }".
func (s *service) option(word string) error {
	if word[0] == '{' && word[len(word)-1] == '}' {
		word = word[1 : len(word)-1]
	}
	name, value, err := postfix.SplitNameValue(word)
	if err != nil {
		return fmt.Errorf("milter %s: malformed option \"%s\": %w", s.name, word, err)
	}
	times := map[string]*time.Duration{"connect_timeout": &s.connect, "command_timeout": &s.command, "content_timeout": &s.content}
	texts := map[string]*string{"protocol": &s.protocol, "default_action": &s.action}
	switch {
	case times[name] != nil:
		d, ok := postfix.ParseTime(value, 's')
		if !ok || d < time.Second {
			return fmt.Errorf("milter %s: bad %s \"%s\": need a time of at least 1s", s.name, name, value)
		}
		*times[name] = d
	case texts[name] != nil:
		if value == "" {
			return fmt.Errorf("milter %s: %s has no value", s.name, name)
		}
		*texts[name] = value
	default:
		return fmt.Errorf("milter %s: unknown option \"%s\"", s.name, name)
	}
	return nil
}

// parseDefaults reads milter_macro_defaults.
func parseDefaults(value string) (map[string]string, error) {
	defaults := make(map[string]string)
	for _, item := range postfix.SplitList(value) {
		if item[0] == '{' && item[len(item)-1] == '}' && !isMacroAssignment(item) {
			item = item[1 : len(item)-1]
		}
		name, text, err := postfix.SplitNameValue(item)
		if err != nil {
			return nil, fmt.Errorf("milter_macro_defaults: malformed item \"%s\": %w", item, err)
		}
		defaults[inBraces(name)] = text
	}
	return defaults, nil
}

// isMacroAssignment tells "{name}=value" from "{ name = value }".
func isMacroAssignment(item string) bool {
	name, rest, _ := strings.Cut(item, "}")
	return !strings.Contains(name, "=") && strings.HasPrefix(strings.TrimLeft(rest, " \t"), "=")
}

// macroNames splits a list of macros.
func macroNames(list string) []string { return strings.FieldsFunc(list, isSeparator) }

// inBraces is how macros are looked up: filters may name them with braces or without.
func inBraces(name string) string {
	if strings.HasPrefix(name, "{") {
		return name
	}
	return "{" + name + "}"
}

// failure is what stands for the answer of a filter that cannot be asked.
func (s *service) failure(log *maillog.Logger) Verdict {
	switch strings.ToLower(s.action) {
	case "accept":
		return Verdict{}
	case "reject":
		return refuse(smtp.Reply{Code: 550, Enhanced: smtp.Enhanced{5, 5, 0}, Text: "Service unavailable"})
	case "tempfail":
		return refuse(replyUnavailable)
	case "quarantine":
		return Verdict{Action: Hold}
	case "shutdown":
		return Verdict{Action: Shutdown, Reply: replyClosing}
	}
	log.Warningf("milter %s: unrecognized default action: %s", s.name, s.action)
	return refuse(replyConfig)
}

// misconfigured is the same for a filter that is configured or programmed wrongly.
func (s *service) misconfigured() Verdict {
	switch strings.ToLower(s.action) {
	case "accept":
		return Verdict{}
	case "quarantine":
		return Verdict{Action: Hold}
	}
	return refuse(replyConfig)
}

// The replies that filters do not word themselves.
var (
	replyRejected    = smtp.Reply{Code: 550, Enhanced: smtp.Enhanced{5, 7, 1}, Text: "Command rejected"}
	replyUnavailable = smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 7, 1}, Text: "Service unavailable - try again later"}
	replyConfig      = smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 5}, Text: "Server configuration problem - try again later"}
	replyClosing     = smtp.Reply{Code: 421, Enhanced: smtp.Enhanced{4, 7, 0}, Text: "Server closing connection"}
)
