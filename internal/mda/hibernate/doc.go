// Package hibernate waits for what many clients send, at the cost of an entry of a map each: no goroutine,
// no buffer.
//
// A session that hibernates is a descriptor here and a few hundred bytes with whoever runs it. The kernel
// says on one epoll descriptor which clients have sent something or are gone, once for each time that a
// client is waited for.
package hibernate
