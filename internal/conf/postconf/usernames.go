package postconf

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// addUserParams finds the names that are used in the values of both files, and tells
// of those that are set nowhere.
func (c *command) addUserParams() error {
	c.addOverrides()
	classes := map[string]bool{}
	for _, s := range c.master {
		if s.space == nil {
			continue
		}
		if err := c.scanService(s, classes); err != nil {
			return err
		}
	}
	// Defaults use no names but built-in ones. Postfix works them out all the same.
	if err := c.checkNetworks(); err != nil {
		return err
	}
	return c.scanMain(classes)
}

// checkNetworks makes the checks that go with the default of mynetworks.
func (c *command) checkNetworks() error {
	if _, ok := c.values["mynetworks"]; ok && c.opts.mode&showDefaults == 0 {
		return nil
	}
	err := c.main.CheckNetworks()
	for _, name := range []string{"inet_interfaces", "inet_protocols", "mynetworks_style"} {
		if strings.Contains(c.values[name], "$") {
			return err
		}
	}
	return postfix.WithFatal(err, "macro processing error") // in a default
}

// scanMain scans main.cf; classes are the names of restriction classes, which it adds to.
func (c *command) scanMain(classes map[string]bool) error {
	names, err := c.restrictionClasses(c.values, "mail_dict")
	if err != nil {
		return err
	}
	for _, name := range names {
		classes[name] = true
		c.use(name, nil, false)
	}
	for _, name := range c.names {
		value, ok := c.values[name]
		if !ok {
			continue
		}
		p := c.param(name)
		if p != nil && p.readOnly {
			c.warn("%s/main.cf: read-only parameter assignment: %s=%s", c.dir, name, value)
			delete(c.values, name)
			continue
		}
		if p != nil && p.class == 0 {
			c.setClass(name, p, user)
		}
		if err := c.scanValue(value, p, nil); err != nil {
			return err
		}
	}
	return nil
}

// scanService scans the -o name=value of a service.
func (c *command) scanService(s *service, classes map[string]bool) error {
	names, err := c.restrictionClasses(s.space.values, s.id())
	if err != nil {
		return err
	}
	for _, name := range names {
		c.use(name, s, false)
	}
	for _, name := range s.space.names {
		value, ok := s.space.values[name]
		if !ok {
			continue
		}
		if classes[name] {
			s.valid[name] = true
		}
		p := c.param(name)
		if p != nil && p.readOnly {
			c.warn("%s/master.cf: read-only parameter assignment: %s=%s", c.dir, name, value)
			delete(s.space.values, name)
			continue
		}
		if p != nil && p.class == 0 {
			c.setClass(name, p, user)
		}
		if err := c.scanValue(value, p, s); err != nil {
			return err
		}
	}
	return nil
}

// restrictionClasses returns the names in smtpd_restriction_classes. Its $name stand
// for what the same file sets.
func (c *command) restrictionClasses(values map[string]string, space string) ([]string, error) {
	list, ok := values["smtpd_restriction_classes"]
	if !ok {
		return nil, nil
	}
	list, err := postfix.ExpandText(list, func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	})
	if err != nil {
		return nil, postfix.WithFatal(err, "dictionary "+space+": macro processing error")
	}
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }), nil
}

// scanValue finds the names in a value: $name, and for parameters of Postfix also
// those that databases of old style have.
func (c *command) scanValue(value string, p *param, s *service) error {
	if p != nil && p.raw {
		return nil
	}
	err := postfix.ScanText(value, func(name string) { c.use(name, s, false) })
	if two, ok := err.(*postfix.Error); ok {
		c.warn("%s", two.Warning)
	}
	if p == nil || p.class&(builtin|perService) == 0 {
		return nil
	}
	if strings.ContainsAny(value, "$") {
		text, err := postfix.ExpandText(value, func(name string) (string, bool) { return c.lookup(name, s, 0) })
		if err != nil {
			return postfix.WithFatal(err, "macro processing error")
		}
		value = text
	}
	return c.findDatabases(value, s)
}

// use makes a name known that is used in main.cf (s is nil) or in the entry of a
// service, if it is set somewhere. A name that is part of a database's
// configuration need not be.
func (c *command) use(name string, s *service, optional bool) {
	set := false
	_, inMain := c.values[name]
	switch {
	case s != nil && s.has(name):
		set = true
		c.validate(name, s, s)
	case inMain:
		set = true
		c.validate(name, s, nil)
	}
	if s == nil {
		for _, other := range c.master {
			if other.has(name) {
				set = true
				c.validate(name, nil, other)
			}
		}
	}
	if !set && !optional && c.param(name) == nil {
		file := "main.cf"
		if s != nil {
			file = "master.cf"
		}
		c.warn("%s/%s: undefined parameter: %s", c.dir, file, name)
	}
}

// validate makes a name known that is used in one place and set in another.
func (c *command) validate(name string, used, set *service) {
	if set == nil {
		if c.param(name) != nil {
			return
		}
		c.params[name] = &param{class: user}
	} else {
		if set.valid[name] {
			return
		}
		set.valid[name] = true
	}
	if c.opts.verbose {
		c.message("", "$"+name+" in "+used.place()+" validates "+name+"=value in "+set.place())
	}
}

// warnUnused tells of the names that are set and used nowhere.
func (c *command) warnUnused(inMain bool) error {
	if inMain {
		for _, name := range c.names {
			value, ok := c.values[name]
			if ok && c.param(name) == nil {
				if err := c.stdout.Flush(); err != nil {
					return err
				}
				c.warn("%s/main.cf: unused parameter: %s=%s", c.dir, name, value)
			}
		}
	}
	for _, s := range c.master {
		if s.space == nil {
			continue
		}
		for _, name := range s.space.names {
			value, ok := s.space.values[name]
			if ok && c.param(name) == nil && !s.valid[name] {
				if err := c.stdout.Flush(); err != nil {
					return err
				}
				c.warn("%s/master.cf: unused parameter: %s=%s", c.dir, name, value)
			}
		}
	}
	return nil
}
