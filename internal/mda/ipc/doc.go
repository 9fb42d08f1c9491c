// Package ipc is the protocol of the socket ipc, on which doveadm asks about the sessions
// that login processes relay to other servers: both sides of it, without the sessions.
//
// Lines end with LF, their fields are separated by TABs and escaped as in package wire.
// Here → is a TAB, S the server.
//
//	C: proxy→*→LIST-FULL
//	S: :username→FIELD...→service→src-ip→dest-ip→dest-port
//	S: :USER→VALUE...→SERVICE→IP→IP→PORT     for each session
//	S: +                                     the end
//	C: proxy→*→KICK→USER...                  or KICK-HOST→HOST..., KICK-ALT→FIELD→VALUE...
//	S: +COUNT                                of the sessions told to end
//
// An answer that begins with - says what is wrong. A FIELD is one of the passdb that begins
// with user_. All is Dovecot's, whose doveadm works with our server and ours with its.
package ipc
