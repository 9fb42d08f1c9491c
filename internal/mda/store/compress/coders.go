package compress

import (
	"compress/bzip2"
	"io"
	"sync"

	bzip2w "github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Coders are large and are used again.
var (
	gzipReaders sync.Pool
	gzipWriters [10]sync.Pool // by level
	zstdReaders sync.Pool
	zstdWriters [zstd.SpeedBestCompression + 1]sync.Pool // by level
)

// A pooledReader gives its coder back when it is closed.
type pooledReader struct {
	io.Reader
	release func()
}

func (r *pooledReader) Close() error {
	if r.release != nil {
		r.release()
		r.release = nil
	}
	return nil
}

// A pooledWriter gives its coder back when it is closed.
type pooledWriter struct {
	io.WriteCloser
	release func()
}

func (w *pooledWriter) Close() error {
	if w.release == nil {
		return nil
	}
	err := w.WriteCloser.Close()
	w.release()
	w.release = nil
	return err
}

func newGzipReader(r io.Reader) (io.ReadCloser, error) {
	z, ok := gzipReaders.Get().(*gzip.Reader)
	var err error
	if ok {
		err = z.Reset(r)
	} else {
		z, err = gzip.NewReader(r)
	}
	if err != nil {
		return nil, err
	}
	return &pooledReader{z, func() { gzipReaders.Put(z) }}, nil
}

func newGzipWriter(w io.Writer, level int) (io.WriteCloser, error) {
	z, ok := gzipWriters[level].Get().(*gzip.Writer)
	if ok {
		z.Reset(w)
	} else {
		var err error
		if z, err = gzip.NewWriterLevel(w, level); err != nil {
			return nil, err
		}
	}
	return &pooledWriter{z, func() { gzipWriters[level].Put(z) }}, nil
}

func newBzip2Reader(r io.Reader) (io.ReadCloser, error) {
	return io.NopCloser(bzip2.NewReader(r)), nil
}

func newBzip2Writer(w io.Writer, level int) (io.WriteCloser, error) {
	return bzip2w.NewWriter(w, &bzip2w.WriterConfig{Level: level})
}

// maxDict bounds the memory that a file can ask for: xz -9 has 64 MiB.
const maxDict = 64 << 20

func newXZReader(r io.Reader) (io.ReadCloser, error) {
	x, err := xz.ReaderConfig{DictCap: maxDict}.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(x), nil
}

func newZstdReader(r io.Reader) (io.ReadCloser, error) {
	z, ok := zstdReaders.Get().(*zstd.Decoder)
	var err error
	if ok {
		err = z.Reset(r)
	} else {
		// One goroutine: the one that reads.
		z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxDict))
	}
	if err != nil {
		return nil, err
	}
	return &pooledReader{z, func() {
		if z.Reset(nil) == nil {
			zstdReaders.Put(z)
		}
	}}, nil
}

func newZstdWriter(w io.Writer, level int) (io.WriteCloser, error) {
	speed := zstd.EncoderLevelFromZstd(level)
	z, ok := zstdWriters[speed].Get().(*zstd.Encoder)
	if ok {
		z.Reset(w)
	} else {
		var err error
		z, err = zstd.NewWriter(w, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true))
		if err != nil {
			return nil, err
		}
	}
	return &pooledWriter{z, func() {
		z.Reset(nil)
		zstdWriters[speed].Put(z)
	}}, nil
}
