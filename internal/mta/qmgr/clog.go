package qmgr

// clogShare is the part of the active queue that one destination may have before it is
// warned of.
const clogShare = 5

// warnOfClog warns, every qmgr_clog_warn_time, of a destination whose mail takes so much of the active
// queue that other mail may find no room, and says what can be done about it. The caller holds the lock.
func (s *Scheduler) warnOfClog(d *destination) {
	n := len(d.todo) + d.busy
	if n <= s.set.ActiveLimit/clogShare || s.set.ClogWarn == 0 || !s.set.HelpfulWarnings {
		return
	}
	now := s.now()
	if now.Before(d.warn) {
		return
	}
	d.warn = now.Add(s.set.ClogWarn)
	share := float64(n) / float64(len(s.active))
	s.log.Warningf("mail for %s is using up %d of %d active queue entries", d.key, n, len(s.active))
	if share < 0.9 {
		s.log.Warningf("this may slow down other mail deliveries")
	}
	switch limit := d.t.lim.concurrency; {
	case limit > 0 && limit <= d.busy+1:
		s.log.Warningf("you may need to increase the main.cf %s_destination_concurrency_limit from %d", d.t.name, limit)
	case float64(d.window) > float64(s.set.ActiveLimit)*share:
		s.log.Warningf("you may need to increase the main.cf qmgr_message_active_limit from %d", s.set.ActiveLimit)
	case len(d.t.dests) > 1:
		s.log.Warningf("you may need a separate master.cf transport for %s", d.key)
	default:
		s.log.Warningf("you may need to reduce %s connect and helo timeouts", d.t.name)
		s.log.Warningf("so that Postfix quickly skips unavailable hosts")
		s.log.Warningf("you may need to increase the main.cf minimal_backoff_time and maximal_backoff_time")
		s.log.Warningf("so that Postfix wastes less time on undeliverable mail")
		s.log.Warningf("you may need to increase the master.cf %s process limit", d.t.name)
	}
	s.log.Warningf("please avoid flushing the whole queue when you have")
	s.log.Warningf("lots of deferred mail, that is bad for performance")
	s.log.Warningf("to turn off these warnings specify: qmgr_clog_warn_time = 0")
}
