// Dovetail is a mail server: Dovecot's and Postfix's programs in one binary.
//
// Under the name of one of their commands, or with it as the first argument,
// it is that command. Re-executed with a role it is one of the daemon
// processes. "dovetail serve" is a whole mail server for trying it out.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/db/checkpassword"
	"github.com/dovetail-mail/dovetail/internal/conf/doveconf"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/doveadm"
	mdaservice "github.com/dovetail-mail/dovetail/internal/mda/service"
	"github.com/dovetail-mail/dovetail/internal/mta/postalias"
	"github.com/dovetail-mail/dovetail/internal/mta/postdrop"
	"github.com/dovetail-mail/dovetail/internal/mta/postlock"
	"github.com/dovetail-mail/dovetail/internal/mta/postlog"
	"github.com/dovetail-mail/dovetail/internal/mta/posttls"
	"github.com/dovetail-mail/dovetail/internal/mta/queuetool"
	mtaservice "github.com/dovetail-mail/dovetail/internal/mta/service"
	"github.com/dovetail-mail/dovetail/internal/mta/takeover"
	"github.com/dovetail-mail/dovetail/internal/table/postmap"
)

// version is set by the build.
var version = "dev"

// A tool is one command of the originals.
type tool func(args []string, stdin io.Reader, stdout, stderr io.Writer) int

var tools = map[string]tool{
	"dovecot": func(args []string, _ io.Reader, stdout, stderr io.Writer) int {
		return mdaservice.Command(args, stdout, stderr)
	},
	"doveadm":        doveadm.Main,
	"doveconf":       doveconf.Main,
	"postfix":        func(args []string, _ io.Reader, _, stderr io.Writer) int { return mtaservice.Command(args, stderr) },
	"postqueue":      queuetool.Postqueue,
	"mailq":          queuetool.Mailq,
	"postsuper":      queuetool.Postsuper,
	"postcat":        queuetool.Postcat,
	"qshape":         queuetool.Qshape,
	"postdrop":       postdrop.Main,
	"postkick":       postkickTool,
	"postlock":       postlock.Main,
	"postlog":        postlog.Main,
	"postmap":        postmap.Main,
	"postalias":      postalias.Main,
	"posttls-finger": posttls.Main,
	"postconf":       postconfTool.Main,
	"export-queue":   takeover.Command,
	"serve":          serve,
	db.ReplyProgram:  checkpassword.Main,
	"coverage":       coverage,
	"version":        printVersion,
	"dovecot-master": func(args []string, _ io.Reader, _, _ io.Writer) int { return mdaservice.Background(args) },
	"postfix-master": func(args []string, _ io.Reader, _, _ io.Writer) int { return mtaservice.Background(args) },
}

func main() {
	args := os.Args[1:]
	if len(args) == 2 && args[0] == master.RoleArg {
		os.Exit(runRole(args[1]))
	}
	name := filepath.Base(os.Args[0])
	run, ok := tools[name]
	if !ok && len(args) > 0 {
		name, args = args[0], args[1:]
		run, ok = tools[name]
	}
	if !ok {
		usage(os.Stderr)
		os.Exit(64) // EX_USAGE
	}
	os.Exit(run(args, os.Stdin, os.Stdout, os.Stderr))
}

func usage(w io.Writer) {
	names := make([]string, 0, len(tools))
	for name := range tools {
		if !strings.HasSuffix(name, "-master") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	fmt.Fprintf(w, "usage: dovetail COMMAND [ARGUMENT...]\n\nTo try it out: dovetail serve\n\nCommands: %s\n", strings.Join(names, " "))
}

func printVersion(_ []string, _ io.Reader, stdout, _ io.Writer) int {
	fmt.Fprintf(stdout, "dovetail %s\n", version)
	return 0
}
