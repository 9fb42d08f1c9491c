// Package system is what auth asks the machine about its users: passwords of PAM,
// entries of the name service switch, hashes of shadow. Only C libraries can say,
// so another program does, dovetail-nss; this is the protocol between them.
//
// It is like those of auth: lines of fields separated by tabs, escaped as in
// package wire; any number of requests at once, answered in any order.
//
//	PAM     ID  service=S user=U pass=P [rhost=H] [session] [setcred]
//	OK      ID  user=U [msg=TEXT]
//	FAIL    ID  code=mismatch|unknown|expired|internal step=CALL text=WHY [autherr] [msg=TEXT]
//	USER    ID  NAME
//	UID     ID  UID
//	USER    ID  NAME UID GID HOME PASSWORD SHELL
//	SHADOW  ID  NAME
//	SHADOW  ID  HASH
//	NOTFOUND ID
//	LIST    ID
//	LIST    ID  NAME UID
//	DONE    ID
//	ERROR   ID  TEXT
package system
