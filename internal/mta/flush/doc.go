// Package flush is the fast flush service, flush(8): it tries the mail that
// waits for one domain, for ETRN (RFC 1985) and "postqueue -s".
//
// Postfix keeps a log of the mail for each domain of fast_flush_domains, because
// its queue cannot be searched. Here the queue is searched: domains that ask at
// the same time share one search, and one search is under way at once, so that
// clients cannot make more of it than one reader. The parameters about Postfix's
// logs, fast_flush_refresh_time and fast_flush_purge_time, have no effect.
package flush
