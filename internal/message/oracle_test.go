package message

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// dovecotFetch has the real Dovecot answer FETCH for each message and returns
// what stands inside the parentheses. The test is left where it is not installed.
func dovecotFetch(t *testing.T, messages [][]byte, items string) [][]byte {
	t.Helper()
	doveadm, err := exec.LookPath("doveadm")
	if err != nil {
		t.Fatal("Dovecot is not installed: run test/install-packages")
	}
	dir := t.TempDir()
	cur := filepath.Join(dir, "Maildir", "cur")
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "Maildir", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range messages {
		name := filepath.Join(cur, fmt.Sprintf("%010d.M%d.host:2,", 1700000000+i, i))
		if err := os.WriteFile(name, m, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(dir, "dovecot.conf")
	text := fmt.Sprintf(dovecotConf, dir)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(doveadm, "-c", conf, "exec", "imap")
	cmd.Env = append(os.Environ(), "USER=test", "HOME="+dir)
	if os.Getuid() == 0 {
		// Mail processes refuse to run as root.
		const nobody = 65534
		filepath.Walk(dir, func(path string, _ os.FileInfo, _ error) error {
			return os.Chown(path, nobody, nobody)
		})
		os.Chmod(filepath.Dir(dir), 0o755)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var in, errs bytes.Buffer
	in.WriteString("a SELECT INBOX\r\n")
	for i := range messages {
		fmt.Fprintf(&in, "b FETCH %d (%s)\r\n", i+1, items)
	}
	in.WriteString("c LOGOUT\r\n")
	cmd.Stdin, cmd.Stderr = &in, &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("doveadm exec imap: %v\n%s", err, errs.Bytes())
	}
	return parseFetches(out, len(messages))
}

const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/run
mail_location = maildir:%[1]s/Maildir
first_valid_uid = 1
ssl = no
mail_never_cache_fields = imap.envelope imap.body imap.bodystructure
`

// parseFetches splits IMAP output into the FETCH responses.
func parseFetches(out []byte, n int) [][]byte {
	list := make([][]byte, n)
	for len(out) > 0 {
		end := 0
		for {
			i := bytes.Index(out[end:], []byte("\r\n"))
			if i < 0 {
				return list
			}
			line := out[end : end+i]
			end += i + 2
			open := bytes.LastIndexByte(line, '{')
			if open < 0 || line[len(line)-1] != '}' {
				break
			}
			size, err := strconv.Atoi(string(line[open+1 : len(line)-1]))
			if err != nil {
				break
			}
			end += size
		}
		var seq int
		if k, _ := fmt.Sscanf(string(out[:min(end, 30)]), "* %d FETCH (", &seq); k == 1 && seq <= n {
			text := bytes.TrimSuffix(out[:end], []byte(")\r\n"))
			list[seq-1] = bytes.TrimPrefix(text, fmt.Appendf(nil, "* %d FETCH (", seq))
		}
		out = out[end:]
	}
	return list
}

// describe renders what dovecotFetch is asked for.
func describe(s *Structure) []byte {
	b := fmt.Appendf(nil, "RFC822.SIZE %d ENVELOPE ", s.VirtualSize())
	b = s.AppendEnvelope(b)
	b = s.AppendBody(append(b, " BODY "...))
	return s.AppendBodyStructure(append(b, " BODYSTRUCTURE "...))
}

const describeItems = "RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE"
