// Package mta is the mta process: it puts the parts of the mail transport
// together and runs them as $mail_owner.
//
//	smtpd → cleanup → queue → qmgr → resolve → deliver agents
//	                             └→ bounce → cleanup
//
// Each service of master.cf that delivers (smtp, lmtp, error, retry, discard)
// becomes an agent under its name, with the -o overrides of its entry; each
// smtpd entry a server on its listeners.
//
// The process has no privileges and reads its configuration from its master
// ([Configuration]). A table, certificate or key that it may not open, the
// master opens for it, if the configuration names it ([Grants]), when the
// table is opened and each time its file has changed. [Check] is the process
// that only tries.
package mta
