package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The files that hold the last UIDVALIDITY given out: one by its content, which
// is only a hint, and one by its name, which counts.
const uidValidityName = "dovecot-uidvalidity"

// uidValidityTries bounds the attempts when others take numbers at the same time.
const uidValidityTries = 100

// nextUIDValidity returns a UIDVALIDITY that no mailbox of the namespace had before.
func (ns *Namespace) nextUIDValidity() (uint32, error) {
	dir := ns.st.controlRoot()
	path := filepath.Join(dir, uidValidityName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	last, err := readUIDValidity(path)
	if err != nil {
		return 0, err
	}
	for range uidValidityTries {
		if last == 0 {
			if last, err = scanUIDValidity(path); err != nil {
				return 0, err
			}
		}
		if last == 0 {
			n := uint32(time.Now().Unix())
			if err := createUIDValidity(path, n); !errors.Is(err, fs.ErrExist) {
				return n, err
			}
			continue
		}
		n := last + 1
		if n == 0 {
			n = 1
		}
		err := os.Rename(uidValidityFile(path, last), uidValidityFile(path, n))
		if err == nil {
			return n, writeUIDValidity(path, n)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		last = 0 // somebody else was first
	}
	return 0, fmt.Errorf("%s: no number to be had", path)
}

func uidValidityFile(path string, n uint32) string { return fmt.Sprintf("%s.%08x", path, n) }

// readUIDValidity returns what the file says, 0 if it is missing or damaged.
func readUIDValidity(path string) (uint32, error) {
	text, err := readRegular(path, 64)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(text), 16, 32)
	if err != nil || len(text) != 8 {
		return 0, nil
	}
	return uint32(n), nil
}

// scanUIDValidity looks for the highest number among the file names and removes
// lower ones. 0 means there are none.
func scanUIDValidity(path string) (uint32, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	var highest uint32
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), uidValidityName+".")
		if !ok || len(text) != 8 {
			continue
		}
		n, err := strconv.ParseUint(text, 16, 32)
		if err != nil {
			continue
		}
		lower := uint32(n)
		if lower > highest {
			lower, highest = highest, lower
		}
		if lower != 0 {
			os.Remove(uidValidityFile(path, lower))
		}
	}
	return highest, nil
}

// createUIDValidity makes the first files.
func createUIDValidity(path string, n uint32) error {
	f, err := os.OpenFile(uidValidityFile(path, n), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	return writeUIDValidity(path, n)
}

func writeUIDValidity(path string, n uint32) error {
	f, err := createFile(path, os.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(fmt.Appendf(nil, "%08x", n), 0); err != nil {
		return err
	}
	return f.Truncate(8)
}
