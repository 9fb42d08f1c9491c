package doveadm

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A fetchField is a field of "fetch": its name on the command line and what prints
// it.
type fetchField struct {
	name  string
	print func(f *fetched) error
}

func prepareFetch(in *invocation) (runFunc, error) {
	names, words := in.fields()
	words = append(words, in.array("query")...)
	if names == nil || len(words) == 0 {
		return nil, errUsage
	}
	fields, err := in.parseFetchFields(names)
	if err != nil {
		return nil, err
	}
	q, err := parseQuery(words)
	if err != nil {
		return nil, err
	}
	modseq := q.root.NeedsModSeq()
	for _, f := range fields {
		modseq = modseq || f.name == "modseq"
	}
	return func(ctx context.Context, u *mailUser) error {
		return u.eachBox(ctx, q, func(b *box) error {
			if modseq {
				if err := b.enableModSeq(ctx); err != nil {
					return err
				}
			}
			return b.each(ctx, func(i int) error { return u.fetch(ctx, b, i, fields) })
		}, nil)
	}, nil
}

// parseFetchFields finds the fields and declares their columns.
func (in *invocation) parseFetchFields(names []string) ([]fetchField, error) {
	var fields []fetchField
	for _, name := range names {
		name = strings.ToLower(name)
		in.column(name, 0)
		f, err := parseFetchField(name)
		if err != nil {
			in.listFetchFields()
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

func parseFetchField(name string) (fetchField, error) {
	for _, f := range fetchFields {
		if f.name == name {
			return f, nil
		}
	}
	if header, ok := strings.CutPrefix(name, "hdr."); ok {
		return fetchField{name, headerField(header)}, nil
	}
	spec, binary := strings.CutPrefix(name, "binary.")
	if !binary {
		var ok bool
		if spec, ok = strings.CutPrefix(name, "body."); !ok {
			return fetchField{}, fatalf(exTempFail, "Unknown fetch field: %s", name)
		}
	}
	s, ok := parseSection(spec)
	if !ok {
		return fetchField{}, fatalf(exTempFail, "Unknown fetch section: %s", spec)
	}
	s.binary = binary
	return fetchField{name, s.print}, nil
}

// listFetchFields prints what fields there are.
func (in *invocation) listFetchFields() {
	fmt.Fprint(in.stderr, "Available fetch fields: hdr.<name> body.<section> binary.<section>")
	for _, f := range fetchFields {
		fmt.Fprint(in.stderr, " ", f.name)
	}
	fmt.Fprintln(in.stderr)
}

// enableModSeq has the mailbox keep modseqs, as in Dovecot a question about them
// does.
func (b *box) enableModSeq(ctx context.Context) error {
	err := b.EnableModSeq(ctx)
	if err == nil {
		b.snap, err = b.Sync(ctx)
	}
	if err != nil {
		return failed(err, "Syncing mailbox %s failed", b.name)
	}
	return nil
}

// A fetched is the message that is printed now. What is read of it is kept for the
// other fields.
type fetched struct {
	ctx  context.Context
	u    *mailUser
	b    *box
	i    int
	msg  *mailbox.Message
	text mailbox.Body
	tree *message.Structure
}

// fetch prints the fields of message i. One that fails is reported, and left empty.
func (u *mailUser) fetch(ctx context.Context, b *box, i int, fields []fetchField) error {
	uid := b.snap.UID(i)
	f := &fetched{ctx: ctx, u: u, b: b, i: i}
	defer f.close()
	var err error
	if f.msg, err = b.Message(uid); errors.Is(err, mailbox.ErrExpunged) {
		return nil
	} else if err != nil {
		return err
	}
	for _, field := range fields {
		at := u.in.print.at
		err := field.print(f)
		switch {
		case err == nil:
			continue
		case fatalOf(err) != nil:
			return err
		}
		u.report(failed(err, "fetch(%s) failed for box=%s uid=%d", field.name, b.name, uid))
		if u.in.print.at == at {
			u.print("")
		}
	}
	return nil
}

func (f *fetched) close() {
	if f.text != nil {
		f.text.Close() //nolint:errcheck // it was only read
	}
}

// body opens the text.
func (f *fetched) body() (mailbox.Body, error) {
	if f.text != nil {
		return f.text, nil
	}
	var err error
	f.text, err = f.msg.Open()
	return f.text, err
}

// structure returns the parsed message.
func (f *fetched) structure() (*message.Structure, error) {
	if f.tree != nil {
		return f.tree, nil
	}
	var err error
	f.tree, err = f.msg.Structure(f.ctx)
	return f.tree, err
}

// section returns a part of the stored text.
func (f *fetched) section(offset, size int64) (*io.SectionReader, error) {
	body, err := f.body()
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(body, offset, size), nil
}

func (f *fetched) guid() string {
	id := f.b.GUID()
	return hex.EncodeToString(id[:])
}
