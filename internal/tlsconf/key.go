package tlsconf

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" // for keys that were encrypted long ago
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
)

// maxIterations bounds the work that a key file may ask for.
const maxIterations = 10_000_000

var (
	errNoPassword    = errors.New("it is encrypted, and there is no password for it")
	errWrongPassword = errors.New("the password does not fit")
)

// decryptKey decrypts the keys in a PEM file: in the form of PKCS #8, which
// openssl 3 writes, or with the headers Proc-Type and DEK-Info of older ones.
// Anything else stays as it is.
func decryptKey(text, password []byte) ([]byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || !encrypted(text) {
		return text, nil
	}
	var out bytes.Buffer
	for ; block != nil; block, rest = pem.Decode(rest) {
		plain, err := decryptBlock(block, password)
		if err != nil {
			return nil, err
		}
		if err := pem.Encode(&out, plain); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

const encryptedType = "ENCRYPTED PRIVATE KEY"

func encrypted(text []byte) bool {
	return bytes.Contains(text, []byte(encryptedType)) || bytes.Contains(text, []byte("DEK-Info:"))
}

func decryptBlock(b *pem.Block, password []byte) (*pem.Block, error) {
	old := x509.IsEncryptedPEMBlock(b) //nolint:staticcheck // such keys exist
	switch {
	case b.Type != encryptedType && !old:
		return b, nil
	case len(password) == 0:
		return nil, errNoPassword
	case old:
		der, err := x509.DecryptPEMBlock(b, password) //nolint:staticcheck // as above
		if err != nil || !isSequence(der) {
			return nil, errWrongPassword
		}
		return &pem.Block{Type: b.Type, Bytes: der}, nil
	}
	der, err := decryptPKCS8(b.Bytes, password)
	if err != nil {
		return nil, err
	}
	if !isSequence(der) {
		return nil, errWrongPassword
	}
	return &pem.Block{Type: "PRIVATE KEY", Bytes: der}, nil
}

// isSequence tells whether der can be a key. What a wrong password leaves has valid padding one time in 256.
func isSequence(der []byte) bool {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	return err == nil && len(rest) == 0 && v.Tag == asn1.TagSequence && v.IsCompound
}

// The structures of RFC 5958 section 3 and RFC 8018 appendix A.
type (
	encryptedKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2Params struct {
		Derivation, Encryption pkix.AlgorithmIdentifier
	}
	pbkdf2Params struct {
		Salt       []byte
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// prfs are the hashes of PBKDF2; without one it is SHA-1.
var prfs = map[string]func() hash.Hash{
	"":                    sha1.New,
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

// A blockCipher is how a key may be encrypted, in CBC mode.
type blockCipher struct {
	keyLength int
	make      func(key []byte) (cipher.Block, error)
}

var blockCiphers = map[string]blockCipher{
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
}

// decryptPKCS8 decrypts an EncryptedPrivateKeyInfo of RFC 5958.
func decryptPKCS8(der, password []byte) ([]byte, error) {
	var key encryptedKey
	var scheme pbes2Params
	var kdf pbkdf2Params
	var iv []byte
	for _, part := range []struct {
		der func() []byte
		dst any
	}{
		{func() []byte { return der }, &key},
		{func() []byte { return key.Algorithm.Parameters.FullBytes }, &scheme},
		{func() []byte { return scheme.Derivation.Parameters.FullBytes }, &kdf},
		{func() []byte { return scheme.Encryption.Parameters.FullBytes }, &iv},
	} {
		if _, err := asn1.Unmarshal(part.der(), part.dst); err != nil {
			return nil, fmt.Errorf("the encryption is not that of PKCS #5 version 2: %w", err)
		}
	}
	newHash, block := prfs[kdf.PRF.Algorithm.String()], blockCiphers[scheme.Encryption.Algorithm.String()]
	if !key.Algorithm.Algorithm.Equal(oidPBES2) || !scheme.Derivation.Algorithm.Equal(oidPBKDF2) || newHash == nil || block.make == nil {
		return nil, fmt.Errorf("the encryption %v with %v is not supported", scheme.Derivation.Algorithm, scheme.Encryption.Algorithm)
	}
	if kdf.Iterations < 1 || kdf.Iterations > maxIterations {
		return nil, fmt.Errorf("the encryption has %d iterations, at most %d are accepted", kdf.Iterations, maxIterations)
	}
	secret, err := pbkdf2.Key(newHash, string(password), kdf.Salt, kdf.Iterations, block.keyLength)
	if err != nil {
		return nil, err
	}
	b, err := block.make(secret)
	if err != nil {
		return nil, err
	}
	return decryptCBC(b, iv, key.Data)
}

// decryptCBC decrypts, and takes the padding of RFC 8018 6.1.1 off.
func decryptCBC(b cipher.Block, iv, data []byte) ([]byte, error) {
	size := b.BlockSize()
	if len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, errors.New("the encrypted key is damaged")
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(b, iv).CryptBlocks(plain, data)
	n := int(plain[len(plain)-1])
	if n == 0 || n > size || !bytes.HasSuffix(plain, bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, errWrongPassword
	}
	return plain[:len(plain)-n], nil
}
