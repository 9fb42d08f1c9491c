package queuetool

import (
	"io"
	"syscall"
	"unicode"

	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
)

// A command is one run of a tool.
type command struct{ getopt.Command }

func newCommand(name string, exit int, stderr io.Writer) *command {
	return &command{getopt.Command{Name: name, Exit: exit, Stderr: stderr}}
}

// reason is the text of a system error as strerror(3) has it.
func reason(errno syscall.Errno) string {
	text := []rune(errno.Error())
	if len(text) > 0 {
		text[0] = unicode.ToUpper(text[0])
	}
	return string(text)
}
