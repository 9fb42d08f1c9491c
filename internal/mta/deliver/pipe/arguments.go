package pipe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// ofRecipient are the macros whose arguments are repeated for each recipient; the
// others are those of the message.
var ofRecipient = map[string]bool{
	"recipient": true, "original_recipient": true, "user": true, "extension": true, "mailbox": true, "domain": true,
}

// arguments expands the macros in the program's arguments.
func (a *Agent) arguments(r *deliver.Request) ([]string, error) {
	vars := a.messageVars(r)
	var argv []string
	for _, arg := range a.entry.Command {
		each, err := a.macros(arg, vars)
		if err != nil {
			return nil, err
		}
		if !each {
			value, err := asuser.ExpandLoose(arg, vars, "")
			if err != nil {
				return nil, err
			}
			argv = append(argv, value)
			continue
		}
		for i := range r.Recipients {
			own := a.recipientVars(&r.Recipients[i], vars)
			if own["user"] == "" && usesMacro(arg, "user") {
				continue // "+extension@domain": the argument is for users only
			}
			value, err := asuser.ExpandLoose(arg, own, "")
			if err != nil {
				return nil, err
			}
			argv = append(argv, value)
		}
	}
	return argv, nil
}

// macros checks the macros of an argument and reports whether it is one for each
// recipient.
func (a *Agent) macros(arg string, vars map[string]string) (each bool, err error) {
	unknown := ""
	scanErr := postfix.ScanText(arg, func(name string) {
		if _, ok := vars[name]; !ok && !ofRecipient[name] {
			unknown = name
		}
		each = each || ofRecipient[name]
	})
	if unknown != "" {
		return false, fmt.Errorf("file %s: service %s: unknown macro name: \"%s\"", a.Entry.File, a.Entry.Name, unknown)
	}
	var two *postfix.Error
	if errors.As(scanErr, &two) {
		scanErr = errors.New(two.Warning)
	}
	return each, scanErr
}

func usesMacro(arg, macro string) bool {
	used := false
	postfix.ScanText(arg, func(name string) { used = used || name == macro }) //nolint:errcheck // it was scanned before
	return used
}

func (a *Agent) messageVars(r *deliver.Request) map[string]string {
	m := r.Message
	sender, nexthop := a.sender(r), r.Nexthop
	if a.entry.QuoteAddress && sender != "" {
		sender = smtp.QuoteAddress(sender)
	}
	if a.entry.FoldHost {
		nexthop = strings.ToLower(nexthop)
	}
	return map[string]string{
		"sender": sender, "nexthop": nexthop, "size": strconv.FormatInt(m.Size, 10), "queue_id": m.ID,
		"client_address": m.Client.Addr, "client_helo": m.Client.Helo, "client_hostname": m.Client.Name,
		"client_port": m.Client.Port, "client_protocol": m.Client.Proto,
		"sasl_method": m.SASL.Method, "sasl_username": m.SASL.Username, "sasl_sender": m.SASL.Sender,
	}
}

// recipientVars adds the macros of one recipient.
func (a *Agent) recipientVars(to *deliver.Recipient, message map[string]string) map[string]string {
	vars := make(map[string]string, len(message)+len(ofRecipient))
	for name, value := range message {
		vars[name] = value
	}
	vars["recipient"] = a.fold(a.quote(to.Address))
	vars["original_recipient"] = a.fold(a.quote(to.Original))
	local, domain := smtp.SplitAddress(a.fold(to.Address))
	user, ext := a.Resolver.SplitExtension(local)
	vars["mailbox"], vars["domain"], vars["user"] = local, domain, user
	vars["extension"] = ext[min(1, len(ext)):]
	return vars
}

func (a *Agent) quote(addr string) string {
	if a.entry.QuoteAddress {
		return smtp.QuoteAddress(addr)
	}
	return addr
}

// fold lowers the case of the parts of an address that the flags name.
func (a *Agent) fold(addr string) string {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		at = len(addr)
	}
	local, domain := addr[:at], addr[at:]
	if a.entry.FoldUser {
		local = strings.ToLower(local)
	}
	if a.entry.FoldHost {
		domain = strings.ToLower(domain)
	}
	return local + domain
}
