package imap

import (
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
	"github.com/dovetail-mail/dovetail/internal/mda/store/thread"
)

// thread is THREAD and UID THREAD (RFC 5256).
func (c *command) thread() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	if args.Count() < 2 || args[0].Kind == imapwire.List || args.Rest()[0].Kind == imapwire.List {
		return errArguments
	}
	algorithm, ok := thread.Parse(string(args[0].Data))
	if !ok {
		return bad("Unknown thread algorithm.")
	}
	args = args.Rest()
	key, modseq, err := c.searchKey(args.Rest(), string(args[0].Data), searchOptions{})
	if err != nil {
		return err
	}
	uids, err := c.find(key, modseq, searchOptions{})
	if err != nil {
		return err
	}
	r := searchResult{command: c}
	r.take(uids)
	threads, err := search.Threads(c.ctx, c.box.mbox, slices.Clip(r.uids), algorithm)
	c.box.mbox.CommitCache(c.ctx)
	if err != nil {
		return err
	}
	b := append(c.buf(), "* THREAD "...)
	for _, t := range threads {
		b = t.Append(b, r.number)
		if len(b) >= outSize {
			if err := c.put(b); err != nil {
				return err
			}
			b = c.buf()
		}
	}
	return c.put(append(b, "\r\n"...))
}
