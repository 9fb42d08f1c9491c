package store

import (
	"crypto/sha1"
	"encoding/binary"
	"os"
	"path/filepath"
	"time"
)

// The kinds of records in dovecot.mailbox.log.
const (
	changeDeleteMailbox byte = 1 // with the mailbox's GUID, all others with nameGUID
	changeDeleteDir     byte = 2
	changeRename        byte = 3 // the new name
	changeSubscribe     byte = 4
	changeUnsubscribe   byte = 5
	changeCreateDir     byte = 6
)

// maxChangeLog is the size at which the log is put aside.
const maxChangeLog = 4096

// nameGUID stands for a name in the log.
func nameGUID(name string) (guid [16]byte) {
	sum := sha1.Sum([]byte(name))
	copy(guid[:], sum[:])
	return guid
}

// logChange appends a record for replication. The log may be lost without harm,
// so failures are not told to anybody.
func (ns *Namespace) logChange(kind byte, guid [16]byte) {
	path := filepath.Join(ns.st.listRoot(), "dovecot.mailbox.log")
	f, err := createFile(path, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return
	}
	defer f.Close()
	var record [24]byte
	record[0] = kind
	copy(record[4:], guid[:])
	binary.BigEndian.PutUint32(record[20:], uint32(time.Now().Unix()))
	if _, err := f.Write(record[:]); err != nil {
		return
	}
	if st, err := f.Stat(); err == nil && st.Size() >= maxChangeLog {
		os.Rename(path, path+".2") //nolint:errcheck // the log is a help for replication, never needed
	}
}
