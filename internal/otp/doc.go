// Package otp is the one-time password system of RFC 2289 with the extended
// responses of RFC 2243: how a password becomes a chain of hashes, what a server
// keeps of it, and the two ways in which people type a hash.
//
// A server keeps, as text,
//
//	ALGORITHM SEQUENCE SEED HEX
//
// where ALGORITHM is md4, md5 or sha1, SEED is up to 16 letters and digits, and HEX the
// 8 bytes that came out of hashing seed and password SEQUENCE+1 times. It is what
// Dovecot calls the password scheme OTP. Whoever knows the hash before that one knows the
// password, and it takes the place of the one that is kept, with SEQUENCE less by one.
//
// People type the hash as 16 hexadecimal digits, or as six words of the dictionary in
// words.txt, the one of RFC 2289 appendix D: eleven bits each, the last two a checksum.
package otp
