package postconf

import (
	"errors"

	"github.com/dovetail-mail/dovetail/internal/conf/bouncetemplate"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// list shows one item a line.
func (c *command) list(items []string) error {
	for _, item := range items {
		c.put(item + "\n")
	}
	return nil
}

// showMaps lists the table types.
func (c *command) showMaps() error {
	if c.tool.TableTypes == nil {
		return nil
	}
	return c.list(c.tool.TableTypes())
}

func (c *command) showTLS() error {
	switch c.opts.tls {
	case "compile-version", "run-version":
		if c.tool.TLSVersion != nil {
			return c.list([]string{c.tool.TLSVersion()})
		}
	case "public-key-algorithms":
		return c.list(c.tool.KeyTypes)
	default:
		c.warn("unknown 'postconf -T' mode: %s", c.opts.tls)
		return errReported
	}
	return nil
}

// showTemplates shows the bounce templates of main.cf or of the file that the argument
// names; an empty name stands for those built in.
func (c *command) showTemplates() error {
	if len(c.args) > 1 {
		return errors.New("options -b and -t require at most one template file")
	}
	main, err := postfix.Read(c.dir, func(text string) { c.warn("%s", text) })
	if err != nil {
		return err
	}
	path, _, err := main.Expand("bounce_template_file")
	if err != nil {
		return err
	}
	if len(c.args) > 0 {
		path = c.args[0]
	}
	c.name = "postfix/bounce" // in Postfix that program shows them
	warn := func(text string) { c.warn("%s", text) }
	templates := bouncetemplate.Builtin()
	if path != "" {
		if templates, err = bouncetemplate.Load(path, warn); err != nil {
			return err
		}
	}
	if c.opts.mode&expandTemplates != 0 {
		return templates.DumpExpanded(c.stdout, main, warn)
	}
	return templates.Dump(c.stdout)
}
