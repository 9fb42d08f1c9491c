// Package dns is the resolver of the mail server, over miekg/dns: MX, address,
// PTR, TXT, SRV and TLSA lookups that keep apart what mail must keep apart: a
// name that does not exist, a name without such records, and a server that could
// not be asked.
//
// It reads /etc/resolv.conf, or the file that the environment variable
// DOVETAIL_RESOLV_CONF names, in which a nameserver may carry a port as
// [127.0.0.1]:5353. It uses EDNS, repeats truncated answers over TCP, asks for
// the DNSSEC status (the AD flag), and remembers answers for their TTL.
package dns
