package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Slapd is a running LDAP server, for the tree dc=example,dc=com.
type Slapd struct {
	*Process
	Dir       string
	URI       string // ldap://, also with StartTLS
	SecureURI string // ldaps://
	CA        string // file of the certificate, which is its own CA; it is for localhost
}

// StartSlapd starts the real slapd with the entries of an LDIF. Passwords can only be
// read by cn=dovecot.
func StartSlapd(t TB, ldif string) *Slapd {
	t.Helper()
	dir := Dir(t)
	Certificate(t, dir)
	s := &Slapd{Dir: dir, CA: filepath.Join(dir, "cert.pem")}
	plain, secure := FreePort(t), FreePort(t)
	s.URI, s.SecureURI = fmt.Sprintf("ldap://127.0.0.1:%d", plain), fmt.Sprintf("ldaps://127.0.0.1:%d", secure)
	config := filepath.Join(dir, "slapd.conf")
	Write(t, config, strings.ReplaceAll(slapdConfig, "@DIR@", dir))
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	Run(t, ldif, "/usr/sbin/slapadd", "-f", config)
	s.Process = Start(t, nil, "/usr/sbin/slapd", "-d", "0", "-f", config, "-h", s.URI+" "+s.SecureURI)
	WaitTCP(t, s.Process, strings.TrimPrefix(s.URI, "ldap://"))
	WaitTCP(t, s.Process, strings.TrimPrefix(s.SecureURI, "ldaps://"))
	return s
}

const slapdConfig = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile @DIR@/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile @DIR@/cert.pem
TLSCertificateKeyFile @DIR@/key.pem
TLSCACertificateFile @DIR@/cert.pem
database mdb
maxsize 67108864
suffix dc=example,dc=com
rootdn cn=admin,dc=example,dc=com
rootpw adminsecret
directory @DIR@/db
access to attrs=userPassword
  by dn.exact="cn=dovecot,dc=example,dc=com" read
  by anonymous auth
access to * by * read
`
