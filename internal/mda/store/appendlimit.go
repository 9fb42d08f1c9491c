package store

// MaxMailSize returns the size in bytes of the largest message that the user may store (quota_max_mail_size),
// whatever the mailbox, or 0 if there is no limit.
func (u *User) MaxMailSize() int64 {
	if u.quota == nil {
		return 0
	}
	return u.quota.maxMail
}
