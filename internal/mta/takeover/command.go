package takeover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// commandName is how the command calls itself.
const commandName = "dovetail export-queue"

// Command is "dovetail export-queue [-c config_dir]": it writes all mail that
// waits as queue files of Postfix and takes it out of our queue. The service must
// be stopped.
func Command(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	say := func(format string, args ...any) {
		fmt.Fprintf(stderr, commandName+": "+format+"\n", args...)
	}
	dir := os.Getenv("MAIL_CONFIG")
	if dir == "" {
		dir = "/etc/postfix"
	}
	switch {
	case len(args) == 2 && args[0] == "-c":
		dir = args[1]
	case len(args) > 0:
		fmt.Fprintln(stderr, "usage: "+commandName+" [-c config_dir]")
		return 64 // EX_USAGE
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	done, left, err := export(ctx, dir, say)
	if err != nil {
		say("%v", err)
	}
	fmt.Fprintf(stdout, "%d messages written to Postfix's queue, %d stay\n", done, left)
	if err != nil || left > 0 {
		return 1
	}
	return 0
}

// export opens everything and exports, as $mail_owner.
func export(ctx context.Context, dir string, say func(string, ...any)) (done, left int, err error) {
	main, err := postfix.Load(dir)
	if err != nil {
		return 0, 0, err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return 0, 0, err
	}
	e := &exporter{say: say, layout: layout{dir: core.QueueDirectory, long: core.EnableLongQueueIDs}}
	if e.warn, err = main.Time("delay_warning_time"); err != nil {
		return 0, 0, err
	}
	if e.depths, err = hashDepths(main); err != nil {
		return 0, 0, err
	}
	pid, err := lockMaster(core.QueueDirectory)
	if err != nil {
		return 0, 0, err
	}
	defer pid.Close()
	id, err := master.UserIdentity(core.MailOwner, "", nil, "")
	if err != nil {
		return 0, 0, fmt.Errorf("mail_owner: %w", err)
	}
	if err := makeDirectories(core.QueueDirectory, id); err != nil {
		return 0, 0, err
	}
	if err := master.Become(id); err != nil {
		return 0, 0, err
	}
	e.store, err = queue.Open(filepath.Join(core.QueueDirectory, queue.Subdir), &queue.Settings{LongIDs: e.long}, nil)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, e.store.Close()) }()
	return e.run(ctx)
}

// hashDepths reads how many levels of directories each queue has.
func hashDepths(main *postfix.Main) (map[string]int, error) {
	list, _, err := main.Expand("hash_queue_names")
	if err != nil {
		return nil, err
	}
	text, _, err := main.Expand("hash_queue_depth")
	if err != nil {
		return nil, err
	}
	depth, err := strconv.Atoi(text)
	if err != nil || depth < 1 || depth > maxDepth {
		return nil, fmt.Errorf("hash_queue_depth = %s: a number from 1 to %d is needed", text, maxDepth)
	}
	depths := make(map[string]int)
	for _, name := range postfix.SplitList(list) {
		depths[name] = depth
	}
	return depths, nil
}

// lockMaster takes the lock that a running master has, Postfix's or ours, so that
// none starts meanwhile.
func lockMaster(dir string) (*os.File, error) {
	pid := filepath.Join(dir, "pid")
	if err := os.Mkdir(pid, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(pid, "master.pid"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		f.Close()
		return nil, errors.New("the mail system is running: stop it first (postfix stop)")
	}
	return f, nil
}

// makeDirectories makes those that Postfix's queue has, as its own installation
// does, where it was never installed.
func makeDirectories(dir string, owner master.Identity) error {
	own := append([]string{"active", "corrupt", "saved", queue.Subdir}, slices.Concat(exported, logNames)...)
	for _, name := range own {
		path := filepath.Join(dir, name)
		err := os.Mkdir(path, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil && owner.Change {
			err = os.Chown(path, owner.UID, owner.GID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
