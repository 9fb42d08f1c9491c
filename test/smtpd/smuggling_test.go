package smtpd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lineEnds are what other servers take for the end of a line.
var lineEnds = []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\x00\r\n", "\r\x00\n", "\r\n\x00", "\x0b", "\xc2\x85"}

// dots are what may be taken for the dot that ends a message.
var dots = []string{".", "..", ". ", " .", ".\x00", "\x00."}

// smuggled is a message that must not come out of another's content.
const smuggled = "MAIL FROM:<forged@good.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"

// TestSmuggling sends messages with each sequence that somebody takes for the end of the
// content, and a second message behind it. Wherever Postfix takes one message, one is taken.
func TestSmuggling(t *testing.T) {
	var services []service
	for _, mode := range []string{"no", "normalize", "yes", "reject"} {
		services = append(services, service{"bare-" + mode, []string{"smtpd_forbid_bare_newline = " + mode}})
	}
	services = append(services,
		service{"excluded", []string{"smtpd_forbid_bare_newline = reject", "smtpd_forbid_bare_newline_exclusions = 127.0.0.1"}},
		service{"code", []string{"smtpd_forbid_bare_newline = reject", "smtpd_forbid_bare_newline_reject_code = 521"}})
	var contents []string
	for _, before := range lineEnds {
		for _, after := range lineEnds {
			if after != "\r\n\x00" { // the next command would begin with NUL
				contents = append(contents, before+"."+after)
			}
		}
	}
	for _, dot := range dots {
		contents = append(contents, "\r\n"+dot+"\r\n", "\n"+dot+"\n", "\r\n"+dot+"\n", "\n"+dot+"\r\n")
	}
	var got [2]map[string]string
	for i, p := range programs {
		s := startSite(t, p, "", services, nil, nil)
		got[i] = make(map[string]string)
		for _, svc := range services {
			for _, end := range contents {
				if tolerant(svc.name) && strings.HasSuffix(end, "\r\r\n") {
					continue // Postfix takes any number of CR for one, then
				}
				replies := smuggle(t, s.addrs[svc.name], end)
				got[i][fmt.Sprintf("%s %q", svc.name, end)] = replies
				if strings.Contains(replies, "queued 2") && !tolerant(svc.name) && !strings.Contains(end, "\r\n.\r\n") {
					t.Errorf("%v, %s: %q: two messages were taken", p, svc.name, end)
				}
			}
		}
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("(-Postfix +Dovetail):\n%s", diff)
	}
}

// tolerant reports whether a service lets its clients end lines with a bare LF.
func tolerant(service string) bool { return service == "bare-no" || service == "excluded" }

// smuggle returns the codes that one session gets, and how many messages were queued.
func smuggle(t *testing.T, addr, end string) string {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(conn)
	var out strings.Builder
	for _, step := range []string{"", "EHLO x\r\n", "MAIL FROM:<a@good.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n"} {
		io.WriteString(conn, step)
		for range max(1, strings.Count(step, "\n")) {
			readReply(r, &out)
		}
	}
	out.Reset()
	// All comes at once, then the real end and a goodbye.
	io.WriteString(conn, "Subject: x\r\n\r\nhello"+end+smuggled+"\r\n.\r\nQUIT\r\n")
	for readReply(r, &out) {
	}
	codes := ""
	for line := range strings.Lines(out.String()) {
		if len(line) > 6 && line[:3] == "S: " {
			codes += line[3:6] + " "
		}
	}
	return fmt.Sprintf("%squeued %d", codes, strings.Count(out.String(), "queued as"))
}
