//go:build cgo && linux

package main

import (
	"fmt"
	"os"

	"github.com/dovetail-mail/dovetail/internal/auth/system"
)

func main() {
	conn := os.NewFile(0, "socket of auth")
	err := system.Serve(conn, conn, system.Library{Authenticate: authenticate, Lookup: lookup, LookupID: lookupID, Shadow: shadow, List: list})
	if err != nil {
		fmt.Fprintf(os.Stderr, "dovetail-nss: %v\n", err)
		os.Exit(1)
	}
}
