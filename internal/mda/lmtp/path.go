package lmtp

import (
	"bytes"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// parsePath takes the path and the parameters of MAIL or RCPT. A path that is
// none gives Dovecot's reply, which says more than [smtp.ParseMailArgs] does.
func (c *session) parsePath(args []byte, keyword string) (path smtp.Path, params []byte, reply *smtp.Reply) {
	if len(args) < len(keyword) || !bytes.EqualFold(args[:len(keyword)], []byte(keyword)) {
		return path, nil, &replyParams
	}
	args = args[len(keyword):]
	if len(args) > 0 && args[0] == ' ' {
		if !c.workaround("whitespace-before-path") {
			return path, nil, pathError(keyword, "Unexpected whitespace before path")
		}
		args = bytes.TrimLeft(args, " ")
	}
	raw, params, text := c.cutPath(args)
	if text != "" {
		return path, nil, pathError(keyword, text)
	}
	path, err := smtp.ParsePath(raw)
	if err != nil {
		return path, nil, pathError(keyword, "Invalid character in localpart")
	}
	return path, params, nil
}

// cutPath splits args behind the path, or says what is wrong with it.
func (c *session) cutPath(args []byte) (path, params []byte, text string) {
	if len(args) == 0 || args[0] != '<' {
		if !c.workaround("mailbox-for-path") || len(args) == 0 {
			return nil, nil, "Missing '<' at beginning of path"
		}
		path, params, _ = bytes.Cut(args, []byte{' '})
		return path, params, ""
	}
	quoted := false
	for i := 1; i < len(args); i++ {
		switch {
		case args[i] == '\\':
			i++
		case args[i] == '"':
			quoted = !quoted
		case quoted:
		case args[i] == '>':
			params = args[i+1:]
			if len(params) > 0 && params[0] != ' ' {
				return nil, nil, "Invalid parameters"
			}
			return args[:i+1], params, ""
		}
	}
	return nil, nil, "Missing '>' at end of path"
}

func pathReply(keyword, text string) smtp.Reply { return *pathError(keyword, text) }

func pathError(keyword, text string) *smtp.Reply {
	return &smtp.Reply{Code: 501, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Invalid " + keyword + " " + text}
}

// workaround reports whether lmtp_client_workarounds has name.
func (c *session) workaround(name string) bool {
	for word := range strings.FieldsSeq(c.srv.set.ClientWorkarounds) {
		if word == name {
			return true
		}
	}
	return false
}
