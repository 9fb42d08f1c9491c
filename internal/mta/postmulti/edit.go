package postmulti

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// edit changes instances or the list of them.
func (c *command) edit() (int, error) {
	if c.mode == "init" {
		return 0, c.postconf(defaultDirectory, "multi_instance_wrapper = ${command_directory}/postmulti -p --", "multi_instance_enable = yes")
	}
	if c.set.Wrapper == "" {
		return 0, failf("multi_instance_wrapper is empty, run 'postmulti -e init' first.")
	}
	if !c.set.Enable {
		return 0, failf("multi_instance_enable!=yes, run 'postmulti -e init' first.")
	}
	if c.mode == "create" || c.mode == "import" {
		return 0, c.add()
	}
	in, err := c.one()
	if err != nil {
		return 0, err
	}
	switch c.mode {
	case "enable":
		return 0, c.postconf(in.dir, "multi_instance_enable = yes")
	case "disable":
		return 0, c.postconf(in.dir, "multi_instance_enable = no")
	case "assign":
		return 0, c.assign(in)
	}
	return 0, c.remove(in)
}

// one is the instance that option -i names.
func (c *command) one() (*instance, error) {
	if c.selects != "name" {
		return nil, failf("Select an instance via '-i name'")
	}
	if i := slices.IndexFunc(c.instances, c.selected); i >= 0 {
		return c.instances[i], nil
	}
	return nil, failf("No instance named %s", c.which)
}

// postconf edits the main.cf of an instance.
func (c *command) postconf(dir string, settings ...string) error {
	return c.runPostconf(append([]string{"-c", dir, "-e"}, settings...))
}

func (c *command) runPostconf(args []string) error {
	if status := c.tool("postconf", args, c.stdin, c.stdout, c.Stderr); status != 0 {
		return failf("postconf %s failed", strings.Join(args, " "))
	}
	return nil
}

// checkNames refuses names that would not do as such.
func (c *command) checkNames() error {
	const punctuation = "!@%-_=+:./"
	unsafe := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool {
			return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') && !strings.ContainsRune(punctuation, r)
		})
	}
	if c.name != nil && *c.name != "" {
		switch {
		case unsafe(*c.name):
			return failf("Unsafe characters in new instance name: '%s'", *c.name)
		case strings.Contains(*c.name, "/"):
			return failf("Illegal '/' character in new instance name: '%s'", *c.name)
		case !strings.HasPrefix(*c.name, namePrefix):
			return failf("New instance name must start with '%s'", namePrefix)
		}
	}
	if c.group != nil && unsafe(*c.group) {
		return failf("Unsafe characters in '-G %s'", *c.group)
	}
	return nil
}

// claimed returns an error if an instance has a directory or name already.
func (c *command) claimed(param, value, dir string) error {
	for _, in := range c.instances {
		owned := map[string]string{"config_directory": in.dir, "queue_directory": in.queueDir, "data_directory": in.dataDir, "multi_instance_name": in.name}
		if in.dir != dir && value != "" && owned[param] == value {
			return failf("instance %s, %s=%s conflicts with instance %s, %s=%s", dir, param, value, in.dir, param, value)
		}
	}
	return nil
}

// names are the settings that options -I and -G ask for.
func (c *command) names(in *instance) ([]string, error) {
	var settings []string
	if c.name != nil && *c.name != in.name {
		if err := c.claimed("multi_instance_name", *c.name, in.dir); err != nil {
			return nil, err
		}
		settings = append(settings, "multi_instance_name = "+*c.name)
	}
	if c.group != nil && *c.group != in.group {
		settings = append(settings, "multi_instance_group = "+*c.group)
	}
	return settings, nil
}

func (c *command) assign(in *instance) error {
	if err := c.checkNames(); err != nil {
		return err
	}
	settings, err := c.names(in)
	if err != nil || len(settings) == 0 {
		return err
	}
	return c.postconf(in.dir, settings...)
}

// add makes an instance, or takes one that exists into the list.
func (c *command) add() error {
	if err := c.checkNames(); err != nil {
		return err
	}
	in, err := c.newInstance()
	if err != nil {
		return err
	}
	names, err := c.names(in)
	if err != nil {
		return err
	}
	if err := c.files(in); err != nil {
		return err
	}
	if len(names) > 0 {
		if err := c.postconf(in.dir, names...); err != nil {
			return err
		}
	}
	at := len(c.instances)
	if c.selects != "" {
		if i := slices.IndexFunc(c.instances, c.selected); i >= 0 {
			at = i + 1
		}
	}
	c.instances = slices.Insert(c.instances, at, in)
	if err := c.saveList(in.dir, false); err != nil {
		return err
	}
	if status := c.tool("postfix", []string{"-c", in.dir, "set-permissions"}, c.stdin, c.stdout, c.Stderr); status != 0 {
		return failf("postfix -c %s set-permissions failed", in.dir)
	}
	return nil
}

// newInstance works out the directories of a new instance: beside those of the
// first one, with the instance's name.
func (c *command) newInstance() (*instance, error) {
	in := &instance{}
	targets := map[string]*string{"config_directory": &in.dir}
	if c.mode == "create" {
		targets["queue_directory"], targets["data_directory"] = &in.queueDir, &in.dataDir
	}
	for _, arg := range c.args {
		name, value, err := postfix.SplitNameValue(arg)
		if err != nil {
			return nil, failf("Malformed parameter setting '%s'", arg)
		}
		to := targets[name]
		switch {
		case to == nil:
			return nil, failf("Parameter '%s' not valid with action %s", name, c.mode)
		case !strings.HasPrefix(value, "/"):
			return nil, failf("Parameter setting '%s' is not an absolute path", name)
		case strings.Trim(value, "/") == "":
			return nil, failf("Parameter setting '%s' is the root directory", name)
		}
		*to = strings.TrimRight(value, "/")
	}
	first := map[string]string{"config_directory": defaultDirectory, "queue_directory": c.core.QueueDirectory, "data_directory": c.set.DataDirectory}
	for _, param := range []string{"config_directory", "queue_directory", "data_directory"} {
		to := targets[param]
		if to == nil {
			continue
		}
		if *to == "" {
			if c.name == nil || *c.name == "" {
				return nil, failf("Missing %s parameter value", param)
			}
			*to = filepath.Join(filepath.Dir(first[param]), *c.name)
		}
		if err := c.claimed(param, *to, in.dir); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(c.instances, func(other *instance) bool { return other.dir == in.dir }) {
		return nil, failf("new config_directory=%s is already in use by instance config_directory=%s", in.dir, in.dir)
	}
	if c.mode == "import" {
		return loadInstance(in.dir)
	}
	return in, nil
}

// shared are parameters that new instances have from the first one.
var shared = []string{
	"command_directory", "daemon_directory", "meta_directory", "mail_owner", "setgid_group", "sendmail_path", "mailq_path", "newaliases_path",
	"html_directory", "manpage_directory", "sample_directory", "readme_directory", "shlib_directory",
}

// files installs main.cf and master.cf from the prototypes, where they are missing. A new
// instance has no network services and takes no mail of users until it is told to.
func (c *command) files(in *instance) error {
	main, master := filepath.Join(in.dir, "main.cf"), filepath.Join(in.dir, "master.cf")
	if exists(main) && exists(master) {
		return nil
	}
	if c.mode == "import" {
		for _, f := range []string{main, master} {
			if !exists(f) {
				return failf("'%s' lacks a %s file", in.dir, filepath.Base(f))
			}
		}
	}
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{{in.dir, 0o755}, {in.queueDir, 0o755}, {in.dataDir, 0o700}, {filepath.Join(in.dir, ".tmp"), 0o700}} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return err
		}
	}
	tmp := filepath.Join(in.dir, ".tmp")
	for _, name := range []string{"main.cf", "master.cf"} {
		proto := filepath.Join(c.set.MetaDirectory, name+".proto")
		text, err := os.ReadFile(proto)
		if err != nil {
			return failf("Missing %s prototype: %s", name, proto)
		}
		if err := os.WriteFile(filepath.Join(tmp, name), text, 0o644); err != nil {
			return err
		}
	}
	if err := c.fill(tmp, in); err != nil {
		return err
	}
	// master.cf last: once it is there the instance is complete.
	for _, name := range []string{"main.cf", "master.cf"} {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(in.dir, name)); err != nil {
			return err
		}
	}
	return os.RemoveAll(tmp)
}

// fill sets the parameters of a new main.cf.
func (c *command) fill(dir string, in *instance) error {
	first, err := postfix.Load(defaultDirectory)
	if err != nil {
		return err
	}
	settings := []string{"queue_directory = " + in.queueDir, "data_directory = " + in.dataDir, "authorized_submit_users =", "master_service_disable = inet"}
	var unset []string
	for _, name := range shared {
		value, _, err := first.Expand(name)
		if err != nil {
			return err
		}
		if first.IsSet(name) && value != "" {
			settings = append(settings, name+" = "+value)
		} else {
			unset = append(unset, name)
		}
	}
	if err := c.runPostconf(append([]string{"-c", dir, "-#"}, unset...)); err != nil {
		return err
	}
	return c.postconf(dir, settings...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// saveList writes the list of instances. One that has been taken out of it may go
// on by itself (deport): then it becomes one of those that users may name.
func (c *command) saveList(dir string, alone bool) error {
	var dirs []string
	for _, in := range c.instances[1:] {
		dirs = append(dirs, in.dir)
	}
	settings := []string{"multi_instance_directories = " + strings.Join(dirs, " ")}
	first, err := postfix.Load(defaultDirectory)
	if err != nil {
		return err
	}
	value, _, err := first.Expand("alternate_config_directories")
	if err != nil {
		return err
	}
	others := postfix.SplitList(value)
	listed := slices.Contains(others, dir)
	others = slices.DeleteFunc(others, func(d string) bool { return d == dir })
	if alone {
		others = append(others, dir)
	}
	if listed != alone {
		settings = append(settings, "alternate_config_directories = "+strings.Join(others, " "))
	}
	return c.postconf(defaultDirectory, settings...)
}

// remove takes an instance out of the list; destroy also removes what it has, as far
// as that is known to hold nothing of value.
func (c *command) remove(in *instance) error {
	switch {
	case in.primary:
		return failf("Cannot remove the primary instance")
	case in.enabled:
		return failf("Cannot remove enabled instances")
	case c.mode == "destroy" && !exists(filepath.Join(in.dir, "main.cf")):
		return failf("%s/main.cf file not found", in.dir)
	}
	if c.tool("postfix", []string{"-c", in.dir, "status"}, c.stdin, c.stdout, c.Stderr) == 0 {
		return failf("Instance '%s' is not stopped", in.dir)
	}
	c.instances = slices.DeleteFunc(c.instances, func(other *instance) bool { return other == in })
	if err := c.saveList(in.dir, c.mode == "deport"); err != nil || c.mode == "deport" {
		return err
	}
	subdirs := []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "pid", "private", "public", "saved", "segments", "tools", "trace"}
	for _, name := range subdirs {
		c.removeEmpty(filepath.Join(in.queueDir, name))
	}
	c.removeEmpty(in.dataDir)
	c.removeEmpty(in.queueDir)
	for _, name := range []string{"master.cf", "main.cf"} {
		if err := os.Remove(filepath.Join(in.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w", err)
		}
	}
	c.removeEmpty(in.dir)
	return nil
}

// removeEmpty removes a directory that has nothing in it.
func (c *command) removeEmpty(dir string) {
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Warnf("%s: please verify contents and remove by hand", dir)
	}
}
