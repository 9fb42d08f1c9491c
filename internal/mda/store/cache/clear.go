package cache

import "github.com/dovetail-mail/dovetail/internal/mda/store/index"

// clear removes what has the name of the cache and cannot be opened as one.
func (c *Cache) clear(dir *index.Dir, why error) error {
	c.opt.Log.Errorf("%v; removed", why)
	return dir.Remove(index.CacheName)
}
