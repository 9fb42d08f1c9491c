package tools

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// multiSteps are what an administrator does with instances, one after the other. Each runs
// with the directory as argument.
var multiSteps = []string{
	"postmulti -l",
	"postmulti -e create -I postfix-out", // before init
	"postmulti -e init",
	"postmulti -l",
	"postmulti -e create -I postfix-out -G mta config_directory=$1/out queue_directory=$1/queue-out data_directory=$1/data-out",
	"postmulti -l",
	"cat $1/out/main.cf | grep -v '^#' | grep . | sort",
	"postmulti -e create -I postfix-out config_directory=$1/other queue_directory=$1/queue-other data_directory=$1/data-other",
	"postmulti -e create -I postfix-in config_directory=$1/in queue_directory=$1/queue-out data_directory=$1/data-in",
	"postmulti -e create -I postfix-in config_directory=$1/in queue_directory=$1/queue-in data_directory=$1/data-in",
	"postmulti -l -R",
	"postmulti -e enable -i postfix-in",
	"postmulti -l",
	"postmulti -l -i in", "postmulti -l -g mta", "postmulti -l -i -", "postmulti -l -i $1/out",
	"postmulti -x sh -c 'echo $multi_instance_name $queue_directory $MAIL_CONFIG $multi_instance_enable'",
	"postmulti -g mta -x false",
	"postmulti -i nobody -x true",
	"postmulti -p status",
	"postmulti -i in -p status",
	"postmulti -e assign -i postfix-out -I postfix-extern -G -",
	"postmulti -l",
	"postmulti -e destroy -i postfix-in",
	"postmulti -e disable -i postfix-in",
	"postmulti -e destroy -i postfix-in",
	"ls -d $1/in $1/queue-in $1/data-in",
	"postmulti -e deport -i extern",
	"postmulti -l",
	"postconf -h multi_instance_directories alternate_config_directories",
	"postmulti -e import config_directory=$1/out",
	"postmulti -l",
	"postmulti -e destroy -i -",
	"postmulti -l x",
}

// postmulti(1) does what Postfix's does.
func TestPostmulti(t *testing.T) {
	var shown [2][]string
	var wait sync.WaitGroup
	for i, p := range programs {
		dir := harness.Dir(t)
		sbin := "/usr/sbin"
		config := filepath.Join(dir, "etc")
		harness.Run(t, "", "cp", "-aL", "/etc/postfix", config)
		if p == harness.Dovetail {
			sbin = filepath.Join(dir, "sbin")
			for _, name := range []string{"postmulti", "postfix", "postconf"} {
				if err := os.MkdirAll(sbin, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(harness.Binary(t), filepath.Join(sbin, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, d := range []string{"queue", "data"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		harness.Write(t, filepath.Join(config, "main.cf"), "compatibility_level = 3.6\nqueue_directory = "+dir+"/queue\ndata_directory = "+dir+
			"/data\ncommand_directory = "+sbin+"\ndaemon_directory = /usr/lib/postfix/sbin\nsetgid_group = postdrop\nmaillog_file = "+dir+"/log\nmaillog_file_prefixes = /\nmyhostname = mail.example.test\n")
		wait.Go(func() { shown[i] = runSteps(t, dir, config, sbin) })
	}
	wait.Wait()
	if diff := cmp.Diff(strings.Split(strings.Join(shown[0], "\n"), "\n"), strings.Split(strings.Join(shown[1], "\n"), "\n")); diff != "" {
		t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
	}
}

// runSteps runs the steps for one program and returns what they show.
func runSteps(t *testing.T, dir, config, sbin string) (shown []string) {
	installation := regexp.MustCompile(`(?m)^.*(_path|_directory) = (SBIN|/usr).*\n`)
	for _, step := range multiSteps {
		script := `mount --bind "$2" /etc/postfix && PATH="$3:$PATH" && ` + step
		cmd := exec.Command("unshare", "-m", "bash", "-c", script, "bash", dir, config, sbin)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"}
		var out strings.Builder
		cmd.Stdout = &out
		status := "ok"
		if err := cmd.Run(); err != nil {
			status = "failed"
			if cmd.ProcessState == nil {
				t.Error(err)
			}
		}
		text := strings.NewReplacer(sbin, "SBIN", dir, "DIR").Replace(out.String())
		text = installation.ReplaceAllString(text, "")
		shown = append(shown, "$ "+step, strings.TrimSuffix(text, "\n"), status)
	}
	return shown
}
