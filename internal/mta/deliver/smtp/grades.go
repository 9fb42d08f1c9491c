package smtp

import (
	"crypto/tls"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// grades are the ciphers of TLS before 1.3 that the configuration allows.
type grades struct {
	lists          postfix.CipherLists
	set            *Settings
	may, mandatory string        // OpenSSL's lists of the grades at level may, and above
	curves         []tls.CurveID // nil: those that crypto/tls uses by itself
}

func newGrades(c *Config, set *Settings) (*grades, error) {
	g := &grades{set: set}
	err := c.Main.Decode(&g.lists)
	if err != nil {
		return nil, err
	}
	if g.may, err = g.lists.Grade(c.Protocol.prefix()+"tls_ciphers", set.TLSGrade); err != nil {
		return nil, err
	}
	if g.mandatory, err = g.lists.Grade(c.Protocol.prefix()+"tls_mandatory_ciphers", set.TLSMandatoryGrade); err != nil {
		return nil, err
	}
	if c.Main.IsSet("tls_eecdh_auto_curves") {
		g.curves, err = tlsconf.ECDHECurves(g.lists.Curves, c.Log.Warningf)
	}
	return g, err
}

// ciphers are those of a policy; nil for all that crypto/tls uses by itself.
func (g *grades) ciphers(p *tlsPolicy) []uint16 {
	list, exclude := g.may, []string{g.set.TLSExclude}
	if p.level > tlsMay {
		list, exclude = g.mandatory, append(exclude, g.set.TLSMandatoryExclude)
	}
	if p.cipherList != "" {
		list = p.cipherList
	}
	if p.exclude != nil {
		exclude = []string{*p.exclude}
	}
	return tlsconf.Ciphers(list, exclude...)
}
