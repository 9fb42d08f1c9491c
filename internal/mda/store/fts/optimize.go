package fts

import "database/sql"

// Optimize forgets the messages that are not among the uids, which are all below next that the mailbox
// has, and rewrites the file such that searches are quick. What others index meanwhile stays: it is not below.
func (ix *Index) Optimize(uids []uint32, next uint32) error {
	err := ix.change(ix.ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec("CREATE TEMP TABLE IF NOT EXISTS kept(uid INTEGER PRIMARY KEY)"); err != nil {
			return err
		}
		keep, err := tx.Prepare("INSERT INTO temp.kept VALUES(?)")
		if err != nil {
			return err
		}
		for _, uid := range uids {
			if _, err := keep.Exec(uid); err != nil {
				return err
			}
		}
		for _, query := range []string{
			"DELETE FROM message WHERE rowid < ? AND rowid NOT IN (SELECT uid FROM temp.kept)",
			"DELETE FROM unread WHERE uid < ? AND uid NOT IN (SELECT uid FROM temp.kept)",
		} {
			if _, err := tx.Exec(query, next); err != nil {
				return err
			}
		}
		for _, query := range []string{
			"DROP TABLE temp.kept",
			"INSERT INTO message(message) VALUES('optimize')",
			"INSERT INTO part(part) VALUES('optimize')",
		} {
			if _, err := tx.Exec(query); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = ix.wait(ix.ctx, func() error {
			_, err := ix.db.ExecContext(ix.ctx, "VACUUM")
			return err
		})
	}
	if err != nil {
		return ix.failed("optimize", err)
	}
	return nil
}
