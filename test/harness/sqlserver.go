package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A SQLServer is a running database server with the database "mailserver" and the
// user "dovecot", password "dbpass".
type SQLServer struct {
	*Process
	Dir    string
	Port   int
	Socket string // of MariaDB, or its directory of PostgreSQL
	CA     string // file of the certificate, which is its own CA; it is for localhost
}

// StartMariaDB starts the real MariaDB and runs statements in it. Over TCP it takes
// connections with TLS only, if requireTLS.
func StartMariaDB(t TB, statements string, requireTLS bool) *SQLServer {
	t.Helper()
	s, data := newSQLServer(t, "mysql")
	Run(t, "", "mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--tmpdir="+data)
	args := []string{
		"--no-defaults", "--user=mysql", "--datadir=" + data, "--socket=" + s.Socket, fmt.Sprintf("--port=%d", s.Port),
		"--bind-address=127.0.0.1", "--ssl-ca=" + s.CA, "--ssl-cert=" + s.CA, "--ssl-key=" + filepath.Join(s.Dir, "key.pem"),
		"--innodb-buffer-pool-size=16M", "--skip-name-resolve",
	}
	s.Process = Start(t, nil, "/usr/sbin/mariadbd", args...)
	WaitSocket(t, s.Process, s.Socket)
	require := ""
	if requireTLS {
		require = " REQUIRE SSL"
	}
	Run(t, "CREATE DATABASE mailserver; CREATE USER dovecot@'127.0.0.1' IDENTIFIED BY 'dbpass'"+require+"; CREATE USER dovecot@localhost IDENTIFIED BY 'dbpass';\n"+
		"GRANT SELECT ON mailserver.* TO dovecot@'127.0.0.1'; GRANT SELECT ON mailserver.* TO dovecot@localhost; USE mailserver;\n"+statements,
		"mariadb", "--no-defaults", "-u", "root", "--socket="+s.Socket)
	return s
}

// StartPostgreSQL starts the real PostgreSQL and runs statements in it.
func StartPostgreSQL(t TB, statements string) *SQLServer {
	t.Helper()
	s, data := newSQLServer(t, "postgres")
	s.Socket = s.Dir
	bin := postgresBin(t)
	as := func(stdin string, args ...string) {
		Run(t, stdin, "runuser", append([]string{"-u", "postgres", "--"}, args...)...)
	}
	as("", filepath.Join(bin, "initdb"), "-D", data, "-A", "trust", "-E", "UTF8", "--no-sync")
	Write(t, filepath.Join(data, "pg_hba.conf"), "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
	s.Process = Start(t, nil, "runuser", "-u", "postgres", "--", filepath.Join(bin, "postgres"), "-D", data, "-k", s.Dir,
		"-c", fmt.Sprintf("port=%d", s.Port), "-c", "listen_addresses=127.0.0.1", "-c", "ssl=on", "-c", "fsync=off",
		"-c", "ssl_cert_file="+s.CA, "-c", "ssl_key_file="+filepath.Join(s.Dir, "key.pem"))
	WaitTCP(t, s.Process, fmt.Sprintf("127.0.0.1:%d", s.Port))
	psql := []string{filepath.Join(bin, "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-h", s.Dir, "-p", fmt.Sprint(s.Port)}
	Eventually(t, "PostgreSQL takes connections", func() bool {
		_, err := Try("SELECT 1", "runuser", append([]string{"-u", "postgres", "--"}, psql...)...)
		return err == nil
	})
	as("CREATE USER dovecot PASSWORD 'dbpass'; CREATE DATABASE mailserver;", psql...)
	as(statements+"\nGRANT SELECT ON ALL TABLES IN SCHEMA public TO dovecot;", append(psql, "mailserver")...)
	return s
}

// newSQLServer makes the directories of a server that runs as user.
func newSQLServer(t TB, user string) (s *SQLServer, data string) {
	t.Helper()
	dir := Dir(t)
	Certificate(t, dir)
	s = &SQLServer{Dir: dir, Port: FreePort(t), Socket: filepath.Join(dir, "socket"), CA: filepath.Join(dir, "cert.pem")}
	data = filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	key := filepath.Join(dir, "key.pem")
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	Run(t, "", "chown", "-R", user, dir)
	return s, data
}

// postgresBin returns the directory of Debian's PostgreSQL.
func postgresBin(t TB) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "ls -d /usr/lib/postgresql/*/bin").Output()
	if err != nil {
		t.Fatalf("PostgreSQL is not installed: run test/install-packages")
	}
	return strings.Fields(string(out))[0]
}
