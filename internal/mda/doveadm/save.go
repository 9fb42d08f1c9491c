package doveadm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

var saveCommand = &command{
	name: "save", usage: "[-m mailbox]",
	params: mailParams(option('m', "mailbox"), argument("file")),
	mail:   prepareSave,
}

func prepareSave(in *invocation) (runFunc, error) {
	name, ok := in.text("mailbox")
	if !ok {
		name = "INBOX"
	}
	path, ok := in.text("file")
	if ok {
		in.sends = func() (io.ReadCloser, error) { return os.Open(path) }
		return func(ctx context.Context, u *mailUser) error {
			f, err := os.Open(path)
			if err != nil {
				if _, err := u.MailboxToSave(ctx, name); err != nil {
					return failed(err, "Failed to open mailbox %s", name)
				}
				return fmt.Errorf("read(msg input) failed: open(%s) failed: %s", path, reason(err))
			}
			defer f.Close()
			return u.save(ctx, name, f)
		}, nil
	}
	input, err := spool(in.stdin)
	if err != nil {
		return nil, fatalf(exTempFail, "read(stdin) failed: %v", err)
	}
	in.sends = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(input, 0, 1<<62)), nil }
	return func(ctx context.Context, u *mailUser) error {
		return u.save(ctx, name, io.NewSectionReader(input, 0, 1<<62))
	}, nil
}

// spool copies standard input to a file without a name: it is read for each user.
func spool(in io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "doveadm.")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		_, err = io.Copy(f, in)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (u *mailUser) save(ctx context.Context, name string, r io.Reader) error {
	m, err := u.MailboxToSave(ctx, name)
	if err != nil {
		return failed(err, "Failed to open mailbox %s", name)
	}
	defer m.Close() //nolint:errcheck // what was to be saved is
	s, err := m.Save(ctx, mailbox.SaveOptions{})
	if err != nil {
		return failed(err, "Saving failed")
	}
	defer s.Abort()
	if err := copyMessage(s, r); err != nil {
		return err
	}
	if _, err := s.Commit(ctx); err != nil {
		return failed(err, "Save transaction commit failed")
	}
	return nil
}

// copyMessage copies r and tells errors of reading from those of writing.
func copyMessage(s *mailbox.Save, r io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := s.Write(buf[:n]); err != nil {
				return failed(err, "Saving failed")
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read(msg input) failed: %s", reason(err))
		}
	}
}
