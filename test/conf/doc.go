// Package conf tests doveconf and postconf against the originals.
//
// Random configurations are printed by the real program and by ours, and standard output,
// standard error and exit status are compared line by line. They are made
// from the registries of settings, so that every setting is there with valid
// and with invalid values of its type, and from tables of the odd forms that the
// two languages allow. What may differ, and why, is in known_test.go; any other
// difference fails the test, which then shrinks the configuration to the lines that
// matter.
//
// The random numbers begin with a fixed seed. To look further:
//
//	go test ./test/conf -args -seeds 2000 -seed 12345
package conf
