// Package attack attacks the SMTP server of the real binary: clients that send a byte now and then, floods of
// connections, handshakes that never end, endless lines and headers, recipients without end, clients that never read.
// While each attack lasts, memory stays within what the test states and another client is served.
//
// As part of the usual tests an attack is as large as two cores can bear within seconds. With -full it is as large as
// the requirements say (5,000 slow clients, 50,000 connections a minute, 1,000,000 recipients):
//
//	go test ./test/attack -full -v -timeout 30m
package attack
