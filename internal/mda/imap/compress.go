package imap

import (
	"bytes"
	"compress/flate"
	"strconv"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/inflate"
)

// A deflated is the state of a connection with COMPRESS=DEFLATE. What a waiting session keeps is the
// window of what its client has sent, at most 32 KB: each flush of output is compressed by itself, by
// one of a few compressors that all sessions share, as a compressor's state is a megabyte.
type deflated struct {
	in    inflate.Stream
	raw   []byte // read from the connection and not yet decompressed
	level int
}

// compress is COMPRESS (RFC 4978). What follows the command's line is compressed.
func (c *command) compress() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	if !c.user.HasPlugin("imap_zlib") {
		return c.invalid(errUnknownCommand, "")
	}
	var mechanism string
	if args.Count() != 1 || !args.Strings(&mechanism) || args[0].IsString() {
		return errArguments
	}
	switch {
	case c.conn.deflated != nil:
		return &reply{cond: condNo, code: "[COMPRESSIONACTIVE] ", text: "COMPRESSION=DEFLATE already enabled."}
	case !strings.EqualFold(mechanism, "DEFLATE"):
		return &reply{cond: condNo, text: "Unknown compression mechanism"}
	}
	if err := c.tagged("OK ", "", c.done); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.noReply = true
	d := &deflated{raw: bytes.Clone(c.dec.Buffered()), level: c.deflateLevel()}
	c.dec.Discard()
	c.conn.deflated = d
	return c.peekDeflated()
}

// deflateLevel returns how hard to compress.
func (s *session) deflateLevel() int {
	const lowest, highest = 0, 9
	text, err := s.user.PluginSetting("imap_compress_deflate_level")
	if err != nil {
		s.log.Errorf("imap_compress_deflate_level: %v", err)
	}
	if text == "" {
		return flate.DefaultCompression
	}
	level, err := strconv.Atoi(text)
	if err != nil || level < lowest || level > highest {
		s.log.Errorf("imap_compress_deflate_level: Level must be between %d..%d", lowest, highest)
		return flate.DefaultCompression
	}
	return level
}

// read decompresses into p what has arrived, or waits for more.
func (d *deflated) read(c *conn, p []byte) (int, error) {
	for {
		n, err := d.decode(p)
		if n > 0 || err != nil {
			return n, err
		}
		chunk := chunkPool.Get().(*[]byte)
		k, err := c.readWire(*chunk)
		d.raw = append(d.raw, (*chunk)[:k]...)
		chunkPool.Put(chunk)
		if k == 0 {
			return 0, err
		}
	}
}

// decode decompresses into p. What it leaves of the input is not kept in a large buffer.
func (d *deflated) decode(p []byte) (int, error) {
	n, used, err := d.in.Decode(p, d.raw)
	if d.raw = d.raw[used:]; len(d.raw) == 0 {
		d.raw = nil
	} else if used > 0 && len(d.raw) < inflate.MinInput {
		d.raw = bytes.Clone(d.raw)
	}
	return n, err
}

// peekDeflated makes a byte that can be decompressed without waiting pending, as the session looks
// for input there before it waits.
func (c *conn) peekDeflated() error {
	if c.deflated == nil || c.pending > 0 {
		return nil
	}
	n, err := c.deflated.decode(c.one[:])
	c.pending = n
	return c.end(err)
}

// A deflater is a compressor that no session owns.
type deflater struct {
	*flate.Writer
	out bytes.Buffer
}

// deflaters are unused ones by level, from DefaultCompression on.
var deflaters [flate.BestCompression - flate.DefaultCompression + 1]sync.Pool

// compressed calls write with p, compressed so that the client can read all of it. It begins anew, and
// so can be done by any compressor.
func (d *deflated) compressed(p []byte, write func([]byte) error) error {
	pool := &deflaters[d.level-flate.DefaultCompression]
	z, ok := pool.Get().(*deflater)
	if !ok {
		w, err := flate.NewWriter(nil, d.level)
		if err != nil {
			return err
		}
		z = &deflater{Writer: w}
	}
	z.out.Reset()
	z.Reset(&z.out)
	z.Write(p) //nolint:errcheck // a Buffer takes everything
	z.Flush()  //nolint:errcheck // likewise
	out := bytes.Clone(z.out.Bytes())
	pool.Put(z) // before a write that may take minutes
	return write(out)
}
