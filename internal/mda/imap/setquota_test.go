package imap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// TestSetQuota has an administrator set limits. What cannot be set is answered BAD with Dovecot's text. (Dovecot 2.3.19.1
// itself crashes when an administrator sets a limit.)
func TestSetQuota(t *testing.T) {
	limits := filepath.Join(t.TempDir(), "limits")
	s := newTestServer(t, map[string]string{
		"mail_plugins": "quota imap_quota", "plugin/quota": "count:User quota", "plugin/quota_vsizes": "yes", "plugin/quota_set": "dict:file:" + limits,
	})
	client, conn := tcpPair(t)
	info := store.UserInfo{Username: "bob", Home: s.home, Service: "imap", Fields: map[string]string{"admin": "y"}}
	user, err := store.OpenUser(s.ctx, s.cfg, info, s.pool, s.log)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer user.Close()
		s.srv.Serve(s.ctx, conn, handoff.Login{}, user)
	}()
	defer func() {
		client.Close()
		<-done
	}()
	got := converse(t, client, strings.Join([]string{
		`setquota "User quota" (STORAGE 100 message 7)`, `setquota "User quota" (NOSUCH 1)`, `setquota "User quota" (STORAGE x)`, `setquota "User quota" (STORAGE)`, `setquota Other (STORAGE 1)`,
	}, "\n"))
	for i, want := range []string{
		"a0 OK Setquota completed", "a1 BAD Error in IMAP command SETQUOTA: Unsupported resource name: NOSUCH", "a2 BAD Error in IMAP command SETQUOTA: Invalid arguments",
		"a3 BAD Error in IMAP command SETQUOTA: Invalid arguments", "a4 NO Quota root doesn't exist",
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("answer %d of %q is not %q", i, got, want)
		}
	}
	if text, err := os.ReadFile(limits); err != nil || !strings.Contains(string(text), "storage\n100\n") || !strings.Contains(string(text), "messages\n7\n") {
		t.Errorf("limits are kept as %q, %v", text, err)
	}
}
