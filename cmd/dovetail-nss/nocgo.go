//go:build !cgo || !linux

package main

import (
	"fmt"
	"os"
)

// Without cgo there is nothing to ask. `make build-nss` builds the program.
func main() {
	fmt.Fprintln(os.Stderr, "dovetail-nss was built without cgo, so it cannot use PAM and the name service switch: build it with make build-nss")
	os.Exit(1)
}
