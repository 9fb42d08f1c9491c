package mta

import (
	"fmt"
	"slices"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/postscreen"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// makeScreens makes the postscreen server of each entry, and the passage to each smtpd service of type "pass".
func (g *generation) makeScreens() error {
	g.screens = make([]*postscreen.Server, len(g.master.Services))
	g.passages = make(map[int]*postscreen.Passage)
	for i := range g.master.Services {
		if g.servers[i] != nil && g.master.Services[i].Type == "pass" {
			g.passages[i] = postscreen.NewPassage()
		}
	}
	for i := range g.master.Services {
		e := &g.master.Services[i]
		if e.Type != "inet" || e.Command != "postscreen" {
			continue
		}
		srv, err := g.newScreen(e)
		if err != nil {
			return &serviceError{entry: e, err: err}
		}
		g.screens[i] = srv
	}
	return nil
}

func (g *generation) newScreen(e *postfix.ServiceEntry) (*postscreen.Server, error) {
	main := g.main.With(e.Overrides)
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return nil, err
	}
	log := g.m.log(tag(core, "postscreen"))
	tables, err := resolve.NewOpener(main, table.Options{Log: log, Open: g.m.files.Open})
	if err != nil {
		return nil, err
	}
	set, err := postfix.Get[postscreen.Settings](main)
	if err != nil {
		return nil, err
	}
	passage, err := g.passageFrom(main)
	if err != nil {
		return nil, err
	}
	return postscreen.New(postscreen.Config{
		Main: main, TLSMain: g.mainOf("tlsproxy"), Tables: tables, Names: g.m.dns, Cache: g.m.screenCache(set.CacheMap, log), Passage: passage,
		Log: log, BlogLog: g.m.log(tag(core, "dnsblog")), TLSLog: g.m.log(tag(core, "tlsproxy")), ReadFile: g.m.files.ReadFile,
	})
}

// passageFrom is the passage that a postscreen service leads to.
func (g *generation) passageFrom(main *postfix.Main) (*postscreen.Passage, error) {
	name := expanded(main, "smtpd_service_name")
	i := slices.IndexFunc(g.master.Services, func(e postfix.ServiceEntry) bool { return e.Type == "pass" && e.Name == name })
	if i < 0 || g.passages[i] == nil {
		return nil, fmt.Errorf("smtpd_service_name: there is no pass service %s with the command smtpd in master.cf", name)
	}
	return g.passages[i], nil
}

// mainOf is main.cf with the options of a unix service.
func (g *generation) mainOf(name string) *postfix.Main {
	for i := range g.master.Services {
		if e := &g.master.Services[i]; e.Type == "unix" && e.Name == name {
			return g.main.With(e.Overrides)
		}
	}
	return g.main
}

// screenCache is the cache in a table. It lives as long as the process.
func (m *process) screenCache(spec string, log *maillog.Logger) *postscreen.Cache {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.screened[spec]
	if c == nil {
		c = postscreen.NewCache(spec, log)
		if m.screened == nil {
			m.screened = make(map[string]*postscreen.Cache)
		}
		m.screened[spec] = c
		m.ended.Go(func() { c.Run(m.ctx) })
	}
	return c
}

// screen tells whether a listener is one of postscreen.
func (g *generation) screen(l *master.Listener) bool {
	return l.Index < len(g.screens) && g.screens[l.Index] != nil
}

// serveScreened serves the clients that pass. When nobody can come any more, the passages are closed.
func (g *generation) serveScreened(work, screens *sync.WaitGroup) {
	for i, passage := range g.passages {
		work.Go(func() {
			if err := g.servers[i].Serve(g.m.ctx, passage, &g.master.Services[i]); err != nil {
				g.log("smtpd").Errorf("%v", err)
			}
		})
	}
	work.Go(func() {
		screens.Wait()
		for _, passage := range g.passages {
			passage.Close() //nolint:errcheck // it has no errors
		}
	})
}
