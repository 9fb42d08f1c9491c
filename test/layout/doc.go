// Package layout tests the rules of the source tree: who may import whom, that
// every package explains itself, and that no file grows a second subject.
package layout
