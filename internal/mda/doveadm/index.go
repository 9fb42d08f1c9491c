package doveadm

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

var indexCommand = &command{
	name: "index", usage: "[-q] [-n <max recent>] <mailbox mask>",
	params: mailParams(flag('q', "queue"), option('n', "max-recent"), argument("mailbox-mask")),
	mail:   prepareIndex,
}

func prepareIndex(in *invocation) (runFunc, error) {
	mask, ok := in.text("mailbox-mask")
	if !ok {
		return nil, errUsage
	}
	recent := uint64(0)
	if text, ok := in.text("max-recent"); ok {
		var err error
		if recent, err = strconv.ParseUint(text, 10, 32); err != nil {
			return nil, fatalf(exUsage, "Invalid -n parameter number: %s", text)
		}
	}
	if in.set("queue") {
		return queueIndex(in, mask, recent)
	}
	return func(ctx context.Context, u *mailUser) error {
		return u.eachListed(ctx, mask, func(name string) error { return u.index(ctx, name, recent) })
	}, nil
}

// index adds to the cache of a mailbox what is missing there, unless more messages
// than maxRecent are recent; 0 stands for any number.
func (u *mailUser) index(ctx context.Context, name string, maxRecent uint64) error {
	b, err := u.openBox(ctx, name)
	if err != nil {
		return failed(err, "Syncing mailbox %s failed", name)
	}
	defer b.Close() //nolint:errcheck // the cache is only a cache
	if maxRecent != 0 && uint64(b.snap.Counts().Recent) > maxRecent {
		return nil
	}
	if err := b.FillCache(ctx); err != nil {
		return failed(err, "Mailbox %s: Precache failed", name)
	}
	if b.fullText != nil {
		if err := b.fullText.Update(ctx, b.Mailbox); err != nil {
			return failed(err, "Mailbox %s: Precache failed", name)
		}
	}
	return nil
}

// queueIndex has the service named indexer do it later.
func queueIndex(in *invocation, mask string, maxRecent uint64) (runFunc, error) {
	core, err := dovecot.Get[dovecot.Master](in.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return nil, configError(err)
	}
	socket := filepath.Join(core.BaseDir, "indexer")
	var conn net.Conn
	ask := func(u *mailUser, name string) error {
		if conn == nil {
			var err error
			if conn, err = net.Dial("unix", socket); err != nil {
				return fatalf(exTempFail, "net_connect_unix(%s) failed: %s", socket, reason(err))
			}
			if _, err := fmt.Fprint(conn, "VERSION\tindexer\t1\t0\n"); err != nil {
				return fatalf(exTempFail, "write(indexer) failed: %s", reason(err))
			}
		}
		if _, err := fmt.Fprintf(conn, "APPEND\t0\t%s\t%s\t%d\n", tabEscape.Replace(u.Info().Username), tabEscape.Replace(name), maxRecent); err != nil {
			return fatalf(exTempFail, "write(indexer) failed: %s", reason(err))
		}
		return nil
	}
	return func(ctx context.Context, u *mailUser) error {
		if !isPattern(mask) {
			return ask(u, mask)
		}
		return u.eachListed(ctx, mask, func(name string) error { return ask(u, name) })
	}, nil
}

// tabEscape makes text a field of a line of Dovecot's protocols.
var tabEscape = strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")
