// Package dictfile is Dovecot's "file" dictionary: a small file of keys and values
// that several programs read and change.
//
// The file has a line with a key and then a line with its value, for each key, in
// any order. In both, NUL, \001, TAB, CR and LF are escaped as package wire has it
// (\001 and '0', '1', 't', 'r', 'n'). A key without a value at the end is ignored;
// of a key that is there twice the last counts. There is no file until something is
// set.
//
// Who changes the file writes a new one and puts it in place by rename, with the
// permissions of the old one, or of the directory if there was none. Meanwhile the
// file is locked: by a file beside it, PATH.lock, which becomes the new one, or by
// fcntl(2) or flock(2) on the old one if the dictionary says so; then the new one
// is PATH.tmp. Readers take no lock.
package dictfile
