package tlsserver

import (
	"crypto/tls"
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A Choice is what a service says of its ciphers before TLS 1.3. Names of parameters are for errors and log lines.
type Choice struct {
	Param, Grade string   // the parameter of the grade, and its value
	Exclude      []string // lists of ciphers that are not used
}

// ChooseCiphers sets the ciphers and curves that main.cf chooses for a service. What crypto/tls cannot offer of them is logged where the
// administrator asked for it. An error says which parameter is wrong; it is permanent.
func (p *Params) ChooseCiphers(main *postfix.Main, choice Choice) error {
	var lists postfix.CipherLists
	if err := main.Decode(&lists); err != nil {
		return err
	}
	list, err := lists.Grade(choice.Param, choice.Grade)
	if err != nil {
		return err
	}
	grade := strings.ToLower(choice.Grade)
	if param := "tls_" + grade + "_cipherlist"; main.IsSet(param) {
		if missing := tlsconf.Missing(list); len(missing) > 0 {
			p.Log.Warningf("%s: these have no cipher of TLS before 1.3 that can be offered: %s", param, strings.Join(missing, " "))
		}
	} else if grade == "low" || grade == "export" {
		p.Log.Warningf("%s: no ciphers weaker than grade high can be offered", choice.Param)
	}
	excluding := strings.Replace(choice.Param, "ciphers", "exclude_ciphers", 1)
	if p.CipherList, err = postfix.Excluding(list, excluding, choice.Exclude...); err != nil {
		return err
	}
	// The default list, which is as old as Postfix's release, leaves crypto/tls's own curves, with the newer ones.
	if main.IsSet("tls_eecdh_auto_curves") {
		p.Curves, err = tlsconf.ECDHECurves(lists.Curves, p.Log.Warningf)
	}
	return err
}

// suites are the cipher suites up to TLS 1.2 of the cipher list; nil stands for all that crypto/tls uses by itself.
func (p *Params) suites() ([]uint16, error) {
	if p.CipherList == "" {
		return nil, nil
	}
	ids := tlsconf.Ciphers(p.CipherList)
	if ids == nil || len(ids) > 0 {
		return ids, nil
	}
	if p.Versions.Highest != 0 && p.Versions.Highest < tls.VersionTLS13 {
		return nil, errors.New("the TLS protocols and cipher list \"" + p.CipherList + "\" leave no cipher that can be offered: allow TLSv1.3, or a cipher with ECDHE")
	}
	p.Log.Warningf("TLS cipher list \"%s\" leaves only TLSv1.3: there is no cipher of older versions that can be offered", p.CipherList)
	return ids, nil
}

var _ = postfix.Register("smtpd", postfix.CipherLists{})
