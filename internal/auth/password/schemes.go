package password

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"

	"golang.org/x/crypto/md4" //nolint:staticcheck // PLAIN-MD4 is what it is
)

// schemes are all that are supported. An expensive scheme is only one that was
// made to be.
var schemes = [...]scheme{
	{name: "PLAIN", verify: verifyPlain, generate: generatePlain},
	{name: "CLEAR", verify: verifyPlain, generate: generatePlain},
	{name: "CLEARTEXT", verify: verifyPlain, generate: generatePlain},
	{name: "PLAIN-TRUNC", verify: verifyTruncated, generate: generatePlain},

	{name: "CRYPT", verify: verifyCrypt, generate: generateBlowfish, expensive: always},
	{name: "DES-CRYPT", verify: verifyCrypt, generate: generateDES},
	{name: "MD5-CRYPT", verify: verifyCrypt, generate: generateMD5Crypt},
	{name: "SHA256-CRYPT", verify: verifyCrypt, generate: generateSHA256Crypt, expensive: always},
	{name: "SHA512-CRYPT", verify: verifyCrypt, generate: generateSHA512Crypt, expensive: always},
	{name: "BLF-CRYPT", verify: verifyCrypt, generate: generateBlowfish, expensive: always},

	{name: "MD5", verify: verifyMD5, generate: generateMD5Crypt},
	{name: "LDAP-MD5", encoding: encodingBase64, verify: digest(md5.New, md5.Size), generate: generateDigest(md5.New)},
	{name: "PLAIN-MD5", encoding: encodingHex, verify: digest(md5.New, md5.Size), generate: generateDigest(md5.New)},
	{name: "PLAIN-MD4", encoding: encodingHex, verify: digest(md4.New, md4.Size), generate: generateDigest(md4.New)},
	{name: "SHA", encoding: encodingBase64, verify: digest(sha1.New, sha1.Size), generate: generateDigest(sha1.New)},
	{name: "SHA1", encoding: encodingBase64, verify: digest(sha1.New, sha1.Size), generate: generateDigest(sha1.New)},
	{name: "SHA256", encoding: encodingBase64, verify: digest(sha256.New, sha256.Size), generate: generateDigest(sha256.New)},
	{name: "SHA512", encoding: encodingBase64, verify: digest(sha512.New, sha512.Size), generate: generateDigest(sha512.New)},
	{name: "SMD5", encoding: encodingBase64, verify: salted(md5.New, md5.Size), generate: generateSalted(md5.New)},
	{name: "SSHA", encoding: encodingBase64, verify: salted(sha1.New, sha1.Size), generate: generateSalted(sha1.New)},
	{name: "SSHA256", encoding: encodingBase64, verify: salted(sha256.New, sha256.Size), generate: generateSalted(sha256.New)},
	{name: "SSHA512", encoding: encodingBase64, verify: salted(sha512.New, sha512.Size), generate: generateSalted(sha512.New)},

	{name: "CRAM-MD5", encoding: encodingHex, verify: verifyCRAMMD5, generate: generateCRAMMD5},
	{name: "HMAC-MD5", encoding: encodingHex, verify: verifyCRAMMD5, generate: generateCRAMMD5},
	{name: "DIGEST-MD5", encoding: encodingHex, verify: verifyDigestMD5, generate: generateDigestMD5},
	{name: "OTP", verify: verifyOTP, generate: generateOTP, expensive: longChain},
	{name: "SCRAM-SHA-1", verify: verifySCRAM(sha1.New), generate: generateSCRAM(sha1.New), expensive: always},
	{name: "SCRAM-SHA-256", verify: verifySCRAM(sha256.New), generate: generateSCRAM(sha256.New), expensive: always},
	{name: "PBKDF2", verify: verifyPBKDF2, generate: generatePBKDF2, expensive: always},
	{name: "ARGON2I", verify: verifyArgon2, generate: generateArgon2i, expensive: always},
	{name: "ARGON2ID", verify: verifyArgon2, generate: generateArgon2id, expensive: always},
}

func always(string) bool { return true }
