package table

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// open opens a file of a table.
func (o *Options) open(name string) (*os.File, error) {
	if o.Open != nil {
		return o.Open(name)
	}
	return os.Open(name)
}

// stat tells about the file that open would open. One in a directory that this
// process may not enter is opened for it.
func (o *Options) stat(name string) (os.FileInfo, error) {
	info, err := os.Stat(name)
	if !errors.Is(err, fs.ErrPermission) || o.Open == nil {
		return info, err
	}
	f, err := o.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// maxListFile bounds a file of list items.
const maxListFile = 64 << 20

func (o *Options) readFile(name string) ([]byte, error) {
	f, err := o.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxListFile))
}
