package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A quotaHome is a user with a quota, who may be opened many times.
type quotaHome struct {
	t    *testing.T
	dir  string
	cfg  *dovecot.Config
	pool *mailbox.Pool
	log  *maillog.Logger
}

func newQuotaHome(t *testing.T, location, plugin string) *quotaHome {
	t.Helper()
	h := &quotaHome{t: t, dir: t.TempDir()}
	h.log = maillog.NewFunc(func(_ maillog.Level, text string) { t.Log(text) })
	h.pool = mailbox.NewPool(h.log)
	t.Cleanup(func() { h.pool.Close() })
	var err error
	text := "mail_location = " + location + "\nmail_fsync = never\nmail_plugins = quota\nbase_dir = " + h.dir + "\nnamespace inbox {\n inbox = yes\n}\nplugin {\n" + plugin + "\n}\n"
	if h.cfg, err = dovecot.Parse("test.conf", text); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *quotaHome) open(fields map[string]string) *User {
	h.t.Helper()
	u, err := OpenUser(context.Background(), h.cfg, UserInfo{Username: h.t.Name(), Home: h.dir, Service: "imap", Fields: fields}, h.pool, h.log)
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

// save saves messages of 50 bytes together.
func save(u *User, box string, messages int) error {
	ctx := context.Background()
	m, err := u.MailboxToSave(ctx, box)
	if err != nil {
		return err
	}
	defer m.Close()
	var saves []*mailbox.Save
	for range messages {
		s, err := m.Save(ctx, mailbox.SaveOptions{})
		if err != nil {
			return err
		}
		saves = append(saves, s)
		if _, err := fmt.Fprintf(s, "Subject: x\r\n\r\n%s\r\n", strings.Repeat("x", 34)); err != nil {
			return err
		}
	}
	_, err = mailbox.CommitAll(ctx, saves)
	return err
}

func overQuota(err error) bool {
	var known *Error
	return errors.As(err, &known) && known.Code == CodeOverQuota
}

// TestQuotaTogether has sessions of one user save, copy and move at the same time: all that fits is
// saved, and nothing more.
func TestQuotaTogether(t *testing.T) {
	const sessions, limit = 8, 41
	for _, c := range []struct{ name, location, plugin string }{
		{"count", "sdbox:~/mail", "quota = count:Q\n quota_vsizes = yes\n quota_rule = *:messages=41"},
		{"count-mdbox", "mdbox:~/mail", "quota = count:Q\n quota_vsizes = yes\n quota_rule = *:bytes=2050"},
		{"maildir", "maildir:~/Maildir", "quota = maildir:Q\n quota_vsizes = yes\n quota_rule = *:messages=41"},
		{"dict", "sdbox:~/mail", "quota = dict:Q::file:%h/quota\n quota_vsizes = yes\n quota_rule = *:bytes=2050"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newQuotaHome(t, c.location, c.plugin)
			first := h.open(nil)
			defer first.Close()
			if err := first.Create(t.Context(), "Box"); err != nil {
				t.Fatal(err)
			}
			if err := save(first, "INBOX", 1); err != nil {
				t.Fatal(err)
			}
			var saved atomic.Int64
			saved.Store(1)
			var wg sync.WaitGroup
			for i := range sessions {
				wg.Go(func() {
					u := h.open(nil)
					defer u.Close()
					n, err := saveAll(u, i)
					if err != nil {
						t.Error(err)
					}
					saved.Add(int64(n))
				})
			}
			wg.Wait()
			if saved.Load() != limit {
				t.Errorf("%d messages were saved, %d fit", saved.Load(), limit)
			}
			res, err := first.QuotaRoots()[0].Resources(t.Context())
			if err != nil || res[1].Value != limit {
				t.Errorf("%v %v", res, err)
			}
			if got := len(quotaAccounts.accounts[t.Name()].roots); got != 1 {
				t.Errorf("%d roots", got)
			}
			if p := first.quota.account.roots["quota"]; p.saves != 0 || p.sum.Messages != 0 {
				t.Errorf("left over: %+v", p)
			}
		})
	}
}

// saveAll saves messages, in pairs at first, until there is no room for one.
func saveAll(u *User, session int) (saved int, err error) {
	ctx := context.Background()
	box := []string{"INBOX", "Box"}[session%2]
	for _, together := range []int{2, 1} {
		for err == nil {
			if err = save(u, box, together); err == nil {
				saved += together
			}
		}
		if !overQuota(err) {
			return saved, err
		}
		err = nil
	}
	src, err := u.Mailbox(ctx, "INBOX")
	if err != nil {
		return saved, err
	}
	defer src.Close()
	if err := save(u, "INBOX", 1); !overQuota(err) {
		return saved, fmt.Errorf("saved: %w", err)
	}
	return saved, nil
}

// TestQuotaOfUserdb has the userdb give a user his rule, and a wrong one.
func TestQuotaOfUserdb(t *testing.T) {
	h := newQuotaHome(t, "sdbox:~/mail", "quota = count:Q\n quota_vsizes = yes\n quota_rule = *:messages=1")
	u := h.open(map[string]string{"quota_rule": "*:messages=2", "quota_exceeded_message": "Enough"})
	defer u.Close()
	if err := save(u, "INBOX", 2); err != nil {
		t.Fatal(err)
	}
	if err := save(u, "INBOX", 1); !overQuota(err) || !strings.HasSuffix(err.Error(), "Enough") {
		t.Fatalf("%v", err)
	}
	_, err := OpenUser(t.Context(), h.cfg, UserInfo{Username: "bad", Home: h.dir, Fields: map[string]string{"quota_rule": "*:messages=x"}}, h.pool, h.log)
	if err == nil || !strings.HasPrefix(err.Error(), "Failed to initialize quota: Invalid quota root quota: Invalid rule *:messages=x: ") {
		t.Fatalf("%v", err)
	}
}

// TestOnlyLargestMail has no root: the original does not look at messages whose size is not known
// beforehand then.
func TestOnlyLargestMail(t *testing.T) {
	h := newQuotaHome(t, "sdbox:~/mail", "quota_max_mail_size = 49B\nquota_vsizes = yes")
	u := h.open(nil)
	defer u.Close()
	var known *Error
	if err := save(u, "INBOX", 1); !errors.As(err, &known) || known.Code != CodeLimit {
		t.Fatalf("%v", err)
	}
}

// TestQuotaWarnings has warnings run by a service with the executable script, of which this is one.
func TestQuotaWarnings(t *testing.T) {
	h := newQuotaHome(t, "sdbox:~/mail", `quota = count:Q
 quota_vsizes = yes
 quota_rule = *:messages=20
 quota_warning = messages=95%% warn 95 %u
 quota_warning2 = messages=50%% warn 50 %u
 quota_warning3 = -messages=75%% warn below %u`)
	l, err := net.Listen("unix", filepath.Join(h.dir, "warn"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	calls := make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(time.Minute))
			var text []byte
			b := make([]byte, 1)
			for !strings.HasSuffix(string(text), "\n\n") {
				if _, err := conn.Read(b); err != nil {
					break
				}
				text = append(text, b...)
			}
			calls <- string(text)
			conn.Close()
		}
	}()
	var wg sync.WaitGroup
	for range 4 { // together: each limit is crossed once
		wg.Go(func() {
			u := h.open(nil)
			defer u.Close()
			for range 5 {
				if err := save(u, "INBOX", 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	u := h.open(nil)
	m, err := u.Mailbox(t.Context(), "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	snap := m.Snapshot()
	var uids []uint32
	for i := range 7 {
		uids = append(uids, snap.UID(i))
	}
	if err := m.Expunge(t.Context(), uids); err != nil {
		t.Fatal(err)
	}
	m.Close()
	u.Close() // waits for the warnings
	var got []string
	for range len(calls) {
		got = append(got, <-calls)
	}
	slices.Sort(got)
	var want []string
	for _, what := range []string{"50", "95", "below"} {
		want = append(want, "VERSION\tscript\t4\t0\nnoreply\n"+what+"\n"+t.Name()+"\n\n")
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "warn")); err != nil {
		t.Error(err)
	}
}
