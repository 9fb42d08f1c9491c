package smtpd

import (
	"bufio"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// connect opens the dialogue with the filter, up to MAIL.
func (f *filtering) connect() smtp.Reply {
	conn, err := net.DialTimeout(f.network, f.address, f.timeout)
	if err != nil {
		f.log.Warningf("connect to proxy filter %s: %s", f.name, netReason(err))
		return f.failed()
	}
	f.conn, f.r = conn, bufio.NewReaderSize(conn, f.lineLimit)
	// The client waits for a reply to RCPT: a greeting would be none, and so would the others.
	if r := f.dialogue("", wantOK); r.Code != 0 {
		f.close()
		return f.failed()
	}
	if r := f.dialogue("EHLO "+f.ehlo, wantOK); r.Code != 0 {
		f.close()
		return f.failed()
	}
	for _, line := range f.xforwards(forwardOffer(f.last.Text)) {
		if r := f.dialogue(line, wantOK); r.Code != 0 {
			f.close()
			return f.failed()
		}
	}
	if r := f.dialogue(f.mail, wantOK); r.Code != 0 {
		f.close()
		return r
	}
	return smtp.Reply{}
}

// forwardOffer lists what a filter takes by XFORWARD, as its answer to EHLO says.
func forwardOffer(ehlo string) (names []string) {
	for line := range strings.SplitSeq(ehlo, "\n") {
		if words := strings.Fields(line); len(words) > 0 && strings.EqualFold(words[0], "XFORWARD") {
			names = append(names, words[1:]...)
		}
	}
	return names
}

// maxXforward is the most that goes in one XFORWARD command.
const maxXforward = 512 - len("250 XFORWARD\r\n")

// xforwards makes the commands that tell the filter of the client, as far as it wants to know. What
// is not known is told to be that.
func (f *filtering) xforwards(offered []string) (commands []string) {
	values := [...]struct{ name, value string }{
		{"NAME", f.from.Name}, {"ADDR", f.from.Addr}, {"PORT", f.from.Port}, {"HELO", f.from.Helo}, {"IDENT", f.ident},
		{"PROTO", f.from.Proto}, {"SOURCE", "REMOTE"},
	}
	if f.local {
		values[len(values)-1].value = "LOCAL"
	}
	line := ""
	for _, v := range values {
		if !slices.ContainsFunc(offered, func(name string) bool { return strings.EqualFold(name, v.name) }) {
			continue
		}
		if v.value == "" || v.value == unknownName {
			v.value = unavailable
		}
		word := " " + v.name + "=" + string(smtp.AppendXtext(nil, v.value))
		if line != "" && len(line)+len(word) > maxXforward {
			commands, line = append(commands, "XFORWARD"+line), ""
		}
		line += word
	}
	if line != "" {
		commands = append(commands, "XFORWARD"+line)
	}
	return commands
}

// command passes a command of the client on, now or later. A reply is for the client, in place of the
// usual one; the zero reply is that the filter takes the command.
func (f *filtering) command(line string, expect byte) smtp.Reply {
	if f.keptFile == nil {
		return f.dialogue(line, expect)
	}
	f.kept = append(f.kept, keptCommand{line, expect})
	return smtp.Reply{}
}

// dialogue sends a command, unless it is empty, and reads the reply, which is returned if it is not
// what was expected.
func (f *filtering) dialogue(line string, expect byte) smtp.Reply {
	if f.conn == nil || f.broken {
		return f.failed()
	}
	f.conn.SetDeadline(time.Now().Add(f.timeout)) //nolint:errcheck // the read tells
	if line != "" {
		if _, err := f.conn.Write([]byte(noControls(line) + "\r\n")); err != nil {
			return f.lost(err)
		}
	}
	text, clean, err := f.readReply()
	if err != nil {
		return f.lost(err)
	}
	f.last = smtp.Reply{}
	if clean {
		f.last = parseFilterReply(text)
	}
	if clean && (expect == wantAny || text[0] == expect) {
		return smtp.Reply{}
	}
	if line == "" {
		line = "connection request"
	}
	f.log.Warningf("proxy %s rejected \"%s\": \"%s\"", f.name, line, strings.ReplaceAll(text, "\n", "??"))
	if f.last.Code < 400 {
		return f.failed() // the client would misunderstand it
	}
	return f.last
}

// lost is for a connection that fails.
func (f *filtering) lost(err error) smtp.Reply {
	f.broken = true
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.log.Warningf("timeout talking to proxy %s", f.name)
	} else {
		f.log.Warningf("lost connection with proxy %s", f.name)
	}
	return f.failed()
}

// noControls is a command in which nothing can end the line early.
func noControls(line string) string {
	return replaceByte(line, ' ', func(c byte) bool { return c == '\r' || c == '\n' || c == 0 })
}

// maxReplyLines bounds what a filter may answer, garbage included.
const maxReplyLines = 1000

var errGarbage = errors.New("endless reply")

// readReply reads a reply, the codes included; clean tells that nothing was among it that is no
// reply. Of a long one the beginning is kept.
func (f *filtering) readReply() (_ string, clean bool, err error) {
	var text strings.Builder
	clean = true
	for range maxReplyLines {
		line, err := f.readLine()
		if err != nil {
			return "", false, err
		}
		if text.Len() < f.lineLimit {
			if text.Len() > 0 {
				text.WriteByte('\n')
			}
			text.WriteString(line)
		}
		if len(line) >= 3 && isDigits(line[:3]) && (len(line) == 3 || line[3] == ' ' || line[3] == '-') {
			clean = clean && line[0] >= '2' && line[0] <= '5'
			if len(line) > 3 && line[3] == '-' {
				continue
			}
			return text.String(), clean, nil
		}
		clean = false
		f.log.Warningf("received garbage from proxy %s: %.100s", f.name, line)
	}
	return "", false, errGarbage
}

// readLine reads a line, of which what is too long is dropped.
func (f *filtering) readLine() (string, error) {
	line, err := f.r.ReadSlice('\n')
	text := string(line)
	if errors.Is(err, bufio.ErrBufferFull) {
		f.log.Warningf("%s: response longer than %d: %.30s...", f.name, f.lineLimit, text)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = f.r.ReadSlice('\n')
		}
	}
	if err != nil {
		return "", err
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	return replaceByte(text, '?', func(c byte) bool { return c < ' ' || c > '~' }), nil
}

// parseFilterReply makes a reply of lines with codes. An enhanced code is known as one if all lines
// have it.
func parseFilterReply(text string) smtp.Reply {
	lines := strings.Split(text, "\n")
	r := smtp.Reply{Code: int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0')}
	same := true
	for i, line := range lines {
		line = line[min(len(line), len("250 ")):]
		enhanced, used := smtp.ParseEnhanced(line)
		if i == 0 {
			r.Enhanced = enhanced
		}
		same = same && used > 0 && used < len(line) && line[used] == ' ' && enhanced == r.Enhanced && int(enhanced[0]) == r.Code/100
		lines[i] = line
	}
	if !same {
		r.Enhanced = smtp.Enhanced{}
	}
	for i, line := range lines {
		if same {
			lines[i] = line[len(r.Enhanced.String())+1:]
		}
	}
	r.Text = strings.Join(lines, "\n")
	return r
}
