package mta

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// A Configuration is main.cf and master.cf as the master read them. The mta has
// it from the master, not from the files: a process that takes the place of one
// that died, while somebody edits them, goes by what is in force.
type Configuration struct {
	Dir    string `json:"dir"`
	Main   string `json:"main"`
	Master string `json:"master"`
}

// maxConfiguration bounds each file.
const maxConfiguration = 64 << 20

// ReadConfiguration reads the files in dir.
func ReadConfiguration(dir string) (*Configuration, error) {
	c := &Configuration{Dir: dir}
	for _, f := range []struct {
		dst  *string
		path string
	}{{&c.Main, filepath.Join(dir, "main.cf")}, {&c.Master, c.masterPath()}} {
		in, err := os.Open(f.path)
		if err != nil {
			return nil, fmt.Errorf("open %s: %s", f.path, table.Reason(err))
		}
		text, err := io.ReadAll(io.LimitReader(in, maxConfiguration+1))
		in.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %s", f.path, table.Reason(err))
		}
		if len(text) > maxConfiguration {
			return nil, fmt.Errorf("%s: the file is larger than %d bytes", f.path, maxConfiguration)
		}
		*f.dst = string(text)
	}
	return c, nil
}

func (c *Configuration) masterPath() string { return filepath.Join(c.Dir, "master.cf") }

// Load parses main.cf.
func (c *Configuration) Load() (*postfix.Main, error) { return postfix.Parse(c.Dir, c.Main) }

// LoadMaster parses master.cf. Entries that main.cf disables are left out.
func (c *Configuration) LoadMaster() (*postfix.Master, error) {
	services, err := postfix.ParseMaster(c.masterPath(), c.Master)
	if err != nil {
		return nil, err
	}
	main, err := c.Load()
	if err != nil {
		return nil, err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return nil, err
	}
	services.Disable(core.MasterServiceDisable)
	return services, nil
}

// Encode is what the master gives to the mta.
func (c *Configuration) Encode() ([]byte, error) { return json.Marshal(c) }

// configuration is what the master gave last.
func (m *process) configuration() (*Configuration, error) {
	c := new(Configuration)
	if err := json.Unmarshal(m.p.Config, c); err != nil {
		return nil, fmt.Errorf("configuration from the master: %w", err)
	}
	return c, nil
}

// loadMain parses the main.cf that the master gave last.
func (m *process) loadMain() (*postfix.Main, error) {
	c, err := m.configuration()
	if err != nil {
		return nil, err
	}
	return c.Load()
}
