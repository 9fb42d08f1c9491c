package bounce

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// maxThreadHeader bounds how much of a header is searched for Message-ID.
const maxThreadHeader = 64 << 10

// messageID returns the Message-ID of the message that the report is about,
// with its angle brackets, or nothing: a report without is as good.
func (r *report) messageID() string {
	content, err := r.store.Content(r.m)
	if err != nil {
		return ""
	}
	defer content.Close() //nolint:errcheck // it was only read
	return findMessageID(content.NewReader())
}

// findMessageID returns what stands between the angle brackets of the first
// Message-ID in a header.
func findMessageID(message io.Reader) string {
	in := bufio.NewReader(io.LimitReader(message, maxThreadHeader))
	value, found := "", false
	for {
		line, err := in.ReadString('\n')
		text := strings.TrimRight(line, "\r\n")
		folded := text != "" && (text[0] == ' ' || text[0] == '\t')
		name, rest, colon := strings.Cut(text, ":")
		switch {
		case found && folded:
			value += text
		case found, text == "", !folded && !colon:
			return bracketed(value)
		case !folded && strings.EqualFold(strings.TrimRight(name, " \t"), "message-id"):
			value, found = rest, true
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return ""
			}
			return bracketed(value)
		}
	}
}

// bracketed returns "<...>" if that is all there is.
func bracketed(value string) string {
	value = strings.TrimSpace(value)
	if len(value) < 3 || value[0] != '<' || value[len(value)-1] != '>' || strings.ContainsAny(value[1:len(value)-1], "<>") {
		return ""
	}
	return printable(value)
}
