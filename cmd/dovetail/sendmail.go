package main

import (
	"io"

	"github.com/dovetail-mail/dovetail/internal/mta/postkick"
	"github.com/dovetail-mail/dovetail/internal/mta/postmulti"
	"github.com/dovetail-mail/dovetail/internal/mta/queuetool"
	"github.com/dovetail-mail/dovetail/internal/mta/sendmail"
)

// These tools run others of this binary, which is why they are not in the list of
// tools from the beginning.
func init() {
	for _, name := range []string{"sendmail", "newaliases"} {
		tools[name] = func(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
			return sendmail.Main(name, runTool, args, stdin, stdout, stderr)
		}
	}
	tools["postmulti"] = postmultiTool
}

// runTool runs another tool of this binary.
func runTool(name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return tools[name](args, stdin, stdout, stderr)
}

func postmultiTool(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return postmulti.Main(runTool, args, stdin, stdout, stderr)
}

func postkickTool(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flush := func(dir string, stderr io.Writer) int {
		return queuetool.Postqueue([]string{"-c", dir, "-f"}, stdin, stdout, stderr)
	}
	return postkick.Main(flush, args, stdin, stdout, stderr)
}
