package tlsconf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Authorities reads the certificates that Dovecot's ssl_client_ca_file and ssl_client_ca_dir
// name; either may be "".
func Authorities(file, dir string) ([]byte, error) {
	var pem []byte
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ssl_client_ca_file: %w", err)
		}
		pem = append(text, '\n')
	}
	if dir == "" {
		return pem, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("ssl_client_ca_dir: %w", err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil && strings.Contains(string(text), "-----BEGIN CERTIFICATE-----") {
			pem = append(append(pem, text...), '\n')
		}
	}
	return pem, nil
}
