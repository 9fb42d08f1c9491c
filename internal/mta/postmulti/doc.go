// Package postmulti is postmulti(1): several mail systems on one machine, each with a
// configuration directory, queue and data directory of its own.
//
// The first instance is that of /etc/postfix, whose main.cf lists the others in
// multi_instance_directories. postfix(1) hands its commands to postmulti when there
// are others (multi_instance_wrapper), which runs them for each instance: starting in
// the order of the list, stopping in the other. An instance with
// multi_instance_enable = no is only checked.
package postmulti
