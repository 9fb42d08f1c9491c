package client

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// FuzzReplies reads what a server may send, in every place where it may.
func FuzzReplies(f *testing.F) {
	for _, seed := range []string{
		"VERSION→1→2\nMECH→PLAIN→plaintext\nSPID→1\nCOOKIE→00\nDONE", "OK→1→user=alice→", "FAIL→1→user=x→code=temp_fail→reason=a\x01tb",
		"CONT→1→VXNlcm5hbWU6", "USER→1→alice→uid=1→gid=x→home=/h", "NOTFOUND→1", "LIST→1→a", "DONE→1→fail", "FAIL→99999999999",
	} {
		f.Add([]byte(strings.ReplaceAll(seed, "→", "\t") + "\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := wire.NewReader(bytes.NewReader(data))
		hello, master := newClientHandshake(), newMasterHandshake()
		for {
			line, err := r.Next()
			if err != nil {
				if err != io.EOF && err != wire.ErrLineTooLong {
					t.Fatal(err)
				}
				return
			}
			verb, rest, _ := wire.CutString(string(line))
			hello.line(verb, rest)  //nolint:errcheck // any error will do
			master.line(verb, rest) //nolint:errcheck // any error will do
			_, rest, _ = wire.CutString(rest)
			if newFailure(rest).Error() == "" {
				t.Error("a failure without text")
			}
			newResult(1, 2, "", rest)
			if u, err := parseUser(reply{verb: verb, rest: rest}, "USER"); err == nil && verb != "USER" {
				t.Errorf("%q became the user %+v", line, u)
			}
		}
	})
}
