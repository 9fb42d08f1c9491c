package mta

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Names below queue_directory.
const (
	ControlName  = "control"  // listener of the queue tools
	SegmentsName = "segments" // the queue
)

// ControlPath is the socket of the queue tools.
func ControlPath(core *postfix.Core) string {
	return filepath.Join(core.QueueDirectory, "public", ControlName)
}

// Files are contents that only root can read: keys of certificates. The master
// reads them for the mta, which has dropped its privileges when it reloads.
type Files map[string][]byte

// privateFiles are the parameters that name such files.
var privateFiles = []string{
	"smtpd_tls_cert_file", "smtpd_tls_key_file", "smtpd_tls_eccert_file", "smtpd_tls_eckey_file",
	"smtpd_tls_dcert_file", "smtpd_tls_dkey_file", "smtpd_tls_chain_files", "smtpd_tls_CAfile",
	"smtp_tls_cert_file", "smtp_tls_key_file", "smtp_tls_eccert_file", "smtp_tls_eckey_file", "smtp_tls_CAfile",
	"lmtp_tls_cert_file", "lmtp_tls_key_file", "lmtp_tls_eccert_file", "lmtp_tls_eckey_file", "lmtp_tls_CAfile",
}

// ReadPrivateFiles reads the files that main.cf and the overrides of master.cf
// name. One that is missing is left out: who needs it reports it.
func ReadPrivateFiles(main *postfix.Main, services *postfix.Master) (Files, error) {
	files := make(Files)
	if err := files.add(main); err != nil {
		return nil, err
	}
	for i := range services.Services {
		if o := services.Services[i].Overrides; len(o) > 0 {
			if err := files.add(main.With(o)); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

func (f Files) add(main *postfix.Main) error {
	for _, name := range privateFiles {
		value, ok, err := main.Expand(name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		for path := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == ',' }) {
			if _, known := f[path]; known || !filepath.IsAbs(path) {
				continue
			}
			content, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			f[path] = content
		}
	}
	return nil
}

// Read returns the content of a file, as the master read it or from disk.
func (f Files) Read(path string) ([]byte, error) {
	if content, ok := f[path]; ok {
		return content, nil
	}
	return os.ReadFile(path)
}
