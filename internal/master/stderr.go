package master

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A daemon process writes to its standard error only when the Go runtime ends
// it: a panic outside of sessions, a fatal error, SIGQUIT. The master puts that
// into the log, a line each, as Dovecot's log process does for its services.
const (
	maxTraceLines = 400  // of one process; the rest is counted
	maxTraceLine  = 1000 // bytes; the rest is cut
	// traceWait is how long the report of a death waits for the trace.
	traceWait = time.Second
)

// logStandardError logs what comes out of r and closes it. It returns when all
// writers of the pipe are gone.
func (c *Child) logStandardError(r *os.File, pid int) {
	defer r.Close()
	spec := c.present()
	tag := spec.name()
	if spec.Log.Style == maillog.Postfix {
		tag = spec.Log.Tag + "[" + strconv.Itoa(pid) + "]"
	}
	logTrace(r, c.log.With(tag))
}

func logTrace(in io.Reader, log *maillog.Logger) {
	r := bufio.NewReaderSize(in, maxTraceLine)
	for range maxTraceLines {
		line, cut, err := r.ReadLine()
		if err != nil {
			return
		}
		if text := strings.TrimRight(string(line), " \r"); text != "" {
			log.Errorf("%s", strings.ReplaceAll(text, "\t", "  "))
		}
		for cut && err == nil {
			_, cut, err = r.ReadLine()
		}
	}
	if n, _ := io.Copy(io.Discard, r); n > 0 { //nolint:errcheck // the end of the pipe is the end
		log.Errorf("%d more bytes of this were left out", n)
	}
}
