package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/shared/wire"
)

// lookPatience is how long a look into a target waits for its writer.
const lookPatience = 2 * time.Second

// inspection collects what is at a target.
type inspection struct {
	e      *Engine
	req    engine.InspectRequest
	dir    *directory
	name   string
	target engine.Target
}

func (i *inspection) stop(code, hint, format string, args ...any) {
	i.target.Problems = append(i.target.Problems, engine.Problem{Stops: true, Code: code, Text: fmt.Sprintf(format, args...), Hint: hint})
}

func (i *inspection) warn(code, hint, format string, args ...any) {
	i.target.Problems = append(i.target.Problems, engine.Problem{Code: code, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// failed makes a problem of a failure that the restore would end with.
func (i *inspection) failed(err error) {
	f := wire.AsFailure(err)
	hint := f.Hint
	if hint == "" {
		hint = "mend this, and look again"
	}
	i.stop(f.Code, hint, "%s", f.Message)
}

// Inspect looks at the file, its directory and the programs that use it.
func (e *Engine) Inspect(ctx context.Context, req engine.InspectRequest) (*engine.Target, error) {
	if err := e.checkTarget(req.Target); err != nil {
		return nil, err
	}
	if err := checkChoices(req.Restore); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("look at %q", req.Target)
	if f := stopped(ctx, what); f != nil {
		return nil, f
	}
	i := &inspection{e: e, req: req, name: filepath.Base(req.Target), target: engine.Target{FreeBytes: -1}}
	var err error
	if i.dir, err = openDirectory(filepath.Dir(req.Target)); err != nil {
		if wire.HasCode(err, wire.CodeDatabaseMissing) {
			i.stop("no_directory", "make it, for the user whose program will use the database", "there is no directory %q", filepath.Dir(req.Target))
		} else {
			i.failed(err)
		}
		return &i.target, nil
	}
	defer i.dir.close()
	i.lookAtDirectory()
	if err := i.lookAtFile(ctx); err != nil {
		return nil, failure(ctx, err, what)
	}
	return &i.target, nil
}

func (i *inspection) lookAtDirectory() {
	if err := unix.Faccessat(i.dir.fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		i.stop(wire.CodePrivilege, "let the agent's user write in the directory", "the agent may not make files in %q: %v", i.dir.path, err)
	}
	free, err := i.dir.free()
	if err != nil {
		return
	}
	i.target.FreeBytes = free
	switch need := max(i.req.DatabaseBytes, i.req.DumpBytes); {
	case need == 0:
	case free-spareSpace < need:
		i.stop(wire.CodeDiskFull, "make room, or restore elsewhere", "the backup needs about %d MiB in %q, where %d MiB are free and %d MiB are to stay so", need>>20, i.dir.path, free>>20, spareSpace>>20)
	case free-spareSpace-need < need/5:
		i.warn("disk_tight", "make room", "the backup needs about %d MiB in %q, and %d MiB are free", need>>20, i.dir.path, free>>20)
	}
}

func (i *inspection) lookAtFile(ctx context.Context) error {
	file, err := i.dir.open(i.name)
	switch {
	case wire.HasCode(err, wire.CodeDatabaseMissing):
		if i.req.InPlace {
			i.stop("no_target", "restore it as a new file", "there is no database %q to put the backup in the place of", i.req.Target)
			return nil
		}
		for _, suffix := range sideSuffixes {
			if _, err := i.dir.stat(i.name + suffix); err == nil {
				i.stop(wire.CodeTargetExists, "choose another name, or move it away", "there is a file %q already, which SQLite would take for a part of the database", i.req.Target+suffix)
			}
		}
		return nil
	case err != nil:
		i.target.Exists = true
		i.failed(err)
		return nil
	}
	defer file.close()
	t := &i.target
	t.Exists, t.SizeBytes = true, file.st.Size
	t.Owner = userName(file.st.Uid)
	if wal, err := i.dir.stat(i.name + walSuffix); err == nil {
		t.SizeBytes += wal.Size
	}
	if t.Identity, err = file.identity(); err != nil {
		return err
	}
	if !i.req.InPlace {
		i.stop(wire.CodeTargetExists, "choose another name, or restore in place", "there is a file %q already", i.req.Target)
	}
	h, err := i.lastingHolders(ctx, file)
	if err != nil {
		return err
	}
	t.Sessions = h.sessions
	if i.req.InPlace {
		i.lookAtSessions(h)
		i.lookAtSwap(file)
	}
	return i.lookInside(ctx, file)
}

// lastingHolders are the programs at the file that do not just leave.
func (i *inspection) lastingHolders(ctx context.Context, file *source) (holders, error) {
	for deadline := time.Now().Add(leaving); ; {
		ids := map[fileID]bool{}
		file.addIDs(ids)
		h, err := findHolders(ids)
		if err != nil || len(h.sessions) == 0 || time.Now().After(deadline) {
			return h, err
		}
		if err := engine.Pause(ctx, glance); err != nil {
			return h, err
		}
	}
}

func (i *inspection) lookAtSessions(h holders) {
	const hint = "stop the programs that use it, or let the swap wait for them; the agent ends no programs"
	switch n := len(h.sessions); {
	case n == 0:
	case i.req.Sessions == engine.SessionsWait:
		i.warn("sessions_wait", "stop the programs that use it", "%q is in use by %s; the swap waits until they are gone", i.req.Target, describeSessions(h.sessions))
	default:
		i.stop(wire.CodeTargetInUse, hint, "%q is in use by %s", i.req.Target, describeSessions(h.sessions))
	}
	if h.unseen > 0 {
		i.warn("not_seen", "run the agent as root, with CAP_SYS_PTRACE, or stop the programs that use the database before the swap",
			"the agent may not look at %d of the programs on this host: whether they have the file open is not known, only whether it is locked", h.unseen)
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(i.dir.fd, &fs) == nil && slices.Contains([]uint32{unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC}, uint32(fs.Type)) { //nolint:gosec // magic numbers have 32 bits
		i.warn("network_file_system", "stop the programs of other hosts that use the database before the swap",
			"%q is on a network file system: programs of other hosts are not seen", i.dir.path)
	}
}

// lookAtSwap finds what would keep the file from being locked, completed, renamed or replaced by one of the same owner.
func (i *inspection) lookAtSwap(file *source) {
	if file.st.Nlink > 1 {
		i.failed(linkedFailure(file))
	}
	if err := unix.Faccessat(i.dir.fd, i.name, unix.R_OK|unix.W_OK, unix.AT_EACCESS); err != nil {
		i.stop(wire.CodePrivilege, "let the agent's user write the file: it is locked for the swap", "the agent may not write %q: %v", i.req.Target, err)
	}
	if me := os.Geteuid(); me != 0 {
		groups, _ := os.Getgroups()
		if int(file.st.Uid) != me || int(file.st.Gid) != os.Getegid() && !slices.Contains(groups, int(file.st.Gid)) {
			i.stop("cannot_keep_owner", "run the agent as root, or as the owner of the database",
				"the file belongs to user %d and group %d, and the agent may not give them a new one", file.st.Uid, file.st.Gid)
		}
	}
	var x unix.Statx_t
	if unix.Statx(file.fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &x) == nil {
		if x.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0 {
			i.stop("immutable", "run chattr -i -a on it", "the file %q is marked as one that does not change", i.req.Target)
		}
		if x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
			i.stop("mount_point", "let the agent see the directory in which the file lies, and mount that", "the file %q is mounted by itself, and cannot be replaced", i.req.Target)
		}
	}
	if err := i.dir.checkJournal(i.name); err != nil {
		// The program that is at work there may still be in its transaction.
		if f := wire.AsFailure(err); len(i.target.Sessions) > 0 {
			i.warn("open_transaction", f.Hint, "%s", f.Message)
		} else {
			i.failed(failure(context.Background(), err, "look at the journal"))
		}
	}
	if err := i.dir.checkLog(i.name); err != nil {
		i.failed(failure(context.Background(), err, "look at the write-ahead log"))
	}
}

// checkLog refuses a write-ahead log that cannot be read.
func (d *directory) checkLog(name string) error {
	log, err := d.open(name + walSuffix)
	if wire.HasCode(err, wire.CodeDatabaseMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	defer log.close()
	f, err := log.read()
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = openLog(f); errors.Is(err, errNoLog) {
		err = noLogFailure(log.path())
	}
	return err
}

// lookInside counts tables. What cannot be read can still be replaced.
func (i *inspection) lookInside(ctx context.Context, file *source) error {
	if file.st.Size == 0 {
		return nil
	}
	done, ok := tryTurn(file.id())
	if !ok {
		i.warn("not_counted", "", "the agent is copying %q now: its tables are not counted", i.req.Target)
		return nil
	}
	defer done()
	var p pulse
	tables, err := call(ctx, defaultStall, &p, func(ctx context.Context) (int64, error) {
		if err := file.checkReadable(); err != nil {
			return 0, err
		}
		conn, err := connect(ctx, pathURI(i.req.Target)+"?mode=ro&"+commonSettings)
		if err != nil {
			return 0, err
		}
		defer conn.close()
		if err := i.e.begin(ctx, conn, &p, i.req.Target, lookPatience); err != nil {
			return 0, err
		}
		f, err := conn.facts(ctx)
		if err != nil {
			return 0, err
		}
		return f.tables, file.checkOpened(f.journalMode)
	}, func(int64) {})
	switch f := stopped(ctx, fmt.Sprintf("look into %q", i.req.Target)); {
	case f != nil:
		return f
	case err != nil:
		i.warn("not_seen_inside", "", "what is in it is not known: %s", failure(ctx, err, fmt.Sprintf("look into %q", i.req.Target)).Message)
	}
	i.target.Tables = tables
	return nil
}
