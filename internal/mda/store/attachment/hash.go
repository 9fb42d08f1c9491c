package attachment

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/md4" //nolint:staticcheck // names of files, nothing else
)

// hashes are those that Dovecot knows.
var hashes = map[string]func() hash.Hash{
	"md4": md4.New, "md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
	"sha3-256": func() hash.Hash { return sha3.New256() }, "sha3-512": func() hash.Hash { return sha3.New512() },
	"size": func() hash.Hash { return new(sizeHash) },
}

// A hashFormat is mail_attachment_hash: text with hashes in it, "%{sha256:80}-%{size}".
type hashFormat []hashItem

type hashItem struct {
	text     string // before the hash
	encoding byte   // 0 hexadecimal, 'X' without leading zeros, 'B' base64
	make     func() hash.Hash
	bytes    int
}

func parseHash(s string) (f hashFormat, err error) {
	for {
		text, rest, ok := strings.Cut(s, "%")
		item := hashItem{text: text}
		if !ok {
			if strings.ContainsAny(s, "/\x00") {
				return nil, errors.New("a hash must not have slashes")
			}
			return append(f, item), nil
		}
		if rest != "" && (rest[0] == 'B' || rest[0] == 'X') {
			item.encoding, rest = rest[0], rest[1:]
		}
		if rest, ok = strings.CutPrefix(rest, "{"); !ok {
			return nil, errors.New("No '{' after '%'")
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return nil, errors.New("Missing '}'")
		}
		name, bits, cut := strings.Cut(name, ":")
		if item.make = hashes[name]; item.make == nil {
			return nil, fmt.Errorf("Unknown hash method: %s", name)
		}
		item.bytes = item.make().Size()
		if cut {
			n, err := strconv.Atoi(bits)
			if err != nil || n <= 0 || n > 8*item.bytes {
				return nil, fmt.Errorf("Invalid :bits number: %s", bits)
			}
			if n%8 != 0 {
				return nil, fmt.Errorf("Currently :bits must be divisible by 8: %s", bits)
			}
			item.bytes = n / 8
		}
		f = append(f, item)
		s = after
	}
}

// A running computes a hash format.
type running struct {
	f    hashFormat
	sums []hash.Hash
}

func (f hashFormat) start() *running {
	r := &running{f: f}
	for i := range f {
		if f[i].make != nil {
			r.sums = append(r.sums, f[i].make())
		}
	}
	return r
}

func (r *running) Write(p []byte) (int, error) {
	for _, h := range r.sums {
		h.Write(p) //nolint:errcheck // a hash never fails
	}
	return len(p), nil
}

func (r *running) String() string {
	var b strings.Builder
	n := 0
	for i := range r.f {
		item := &r.f[i]
		b.WriteString(item.text)
		if item.make == nil {
			continue
		}
		sum := r.sums[n].Sum(nil)[:item.bytes]
		n++
		switch item.encoding {
		case 'B':
			// A slash cannot be in a file name.
			b.WriteString(strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(sum), "/", "_"))
		case 'X':
			digits := strings.TrimLeft(hex.EncodeToString(sum), "0")
			if digits == "" {
				digits = "0"
			}
			b.WriteString(digits)
		default:
			b.WriteString(hex.EncodeToString(sum))
		}
	}
	// A dash ends the hash in the file's name.
	return strings.ReplaceAll(b.String(), "-", "_")
}

// A sizeHash is the number of bytes.
type sizeHash struct{ n uint64 }

func (s *sizeHash) Write(p []byte) (int, error) { s.n += uint64(len(p)); return len(p), nil }
func (s *sizeHash) Sum(b []byte) []byte         { return binary.BigEndian.AppendUint64(b, s.n) }
func (s *sizeHash) Reset()                      { s.n = 0 }
func (s *sizeHash) Size() int                   { return 8 }
func (s *sizeHash) BlockSize() int              { return 1 }

// links returns how many names a file has.
func links(st fs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(sys.Nlink) //nolint:unconvert // not uint64 everywhere
	}
	return 0
}
