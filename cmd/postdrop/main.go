// Postdrop is Postfix's postdrop(1): it puts mail into the maildrop queue for
// sendmail(1). It is the one program of the mail transport that is installed with
// the rights of a group, $setgid_group, and links no more than it needs.
package main

import (
	"os"

	"github.com/dovetail-mail/dovetail/internal/mta/postdrop"
)

func main() {
	os.Exit(postdrop.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
