package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/wire"
)

const (
	// swaps are how many swaps are watched, beside those of the measured restores.
	swaps = 6
	// askEvery is how often the client asks that watches a swap.
	askEvery = time.Millisecond
)

// live is a database in whose place a backup of another one is restored.
type live struct {
	stack.Server
	instance, name string
	asker          func(ctx context.Context) (ask func(context.Context) error, end func(), err error)
}

func (s *source) live() live { return live{s.Postgres, "main", "bench_live", s.asker} }
func (m *maria) live() live  { return live{m.MariaDB, "maria", "r_live", m.asker} }

// make makes it anew, with one row that is to be replaced.
func (l live) make(ctx context.Context) error {
	names, err := l.Databases(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == l.name || strings.HasPrefix(name, "devflow_") {
			err = errors.Join(err, l.Drop(ctx, name))
		}
	}
	if err = errors.Join(err, l.Create(ctx, l.name)); err != nil {
		return err
	}
	_, err = l.Exec(ctx, l.name, "CREATE TABLE customers (id integer PRIMARY KEY); INSERT INTO customers VALUES (1);")
	return errors.Join(err, l.AllowInPlace(ctx, l.name))
}

// moment is for how long targets could not be used while they were swapped.
type moment struct {
	Title  string    `json:"title"`
	Agent  []float64 `json:"agent_ms"`  // as the agent tells
	Client []float64 `json:"client_ms"` // the longest time between two answers that a client got which asks every millisecond
}

// inPlace compares a restore in the place of a database with one of the same backup into a new database, and watches swaps.
func (b *bench) inPlace(ctx context.Context, s subject, l live, rep *report) (comparison, error) {
	backup, ok := b.stored[s.database]
	if !ok {
		last, _, err := b.product.backup(ctx, s.database, storageS3)
		if err != nil {
			return comparison{}, err
		}
		backup = last.ID
	}
	settle := func(ctx context.Context) error {
		if s.restore.settle == nil {
			return nil
		}
		return s.restore.settle(ctx)
	}
	all, err := interleave(ctx, b.rounds, b.say,
		runner{name: "restore in place: API call to completed, from S3", cold: true, run: func(ctx context.Context) (time.Duration, error) {
			if err := settle(ctx); err != nil {
				return 0, err
			}
			began := time.Now()
			done, err := b.product.swap(ctx, "/restores", l.ask(map[string]any{
				"backup_id": backup, "to_server": hostName, "to_instance": l.instance, "to_database": l.name, "in_place": true, "skip_safety_backup": true,
			}))
			took := time.Since(began)
			return took, errors.Join(err, b.product.discard(ctx, done.ID, l.name))
		}},
		runner{name: "restore into a new database: the same", cold: true, run: func(ctx context.Context) (took time.Duration, err error) {
			if err := settle(ctx); err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, s.restore.drop(context.WithoutCancel(ctx))) }()
			return b.product.restore(ctx, backup, s.restore.instance, s.restore.target)
		}},
	)
	if err != nil {
		return comparison{}, err
	}
	m, err := b.watch(ctx, l, backup)
	if err != nil {
		return comparison{}, err
	}
	m.Title = s.title
	rep.Moments = append(rep.Moments, m)
	last, err := b.product.client.Backup(ctx, backup)
	if err != nil {
		return comparison{}, err
	}
	return comparison{
		ID: s.id + " restore in place", Title: s.title + ": a restore in place", Bytes: last.RawSize, Input: fmt.Sprintf("dump of %s", mb(last.RawSize)), Series: all,
		Ratios: []result{most("time, to a restore into a new database", all[0], all[1], 0), cpu("CPU, to a restore into a new database", all[0], all[1])},
	}, nil
}

// watch restores once more in place, and then undoes it, undoes the undo, and so on, while a client asks.
func (b *bench) watch(ctx context.Context, l live, backup int64) (m moment, err error) {
	path, in := "/restores", l.ask(map[string]any{
		"backup_id": backup, "to_server": hostName, "to_instance": l.instance, "to_database": l.name, "in_place": true, "skip_safety_backup": true,
	})
	var made []int64
	for range swaps {
		var done swapped
		gap, err := longestGap(ctx, l.asker, func(ctx context.Context) (err error) {
			done, err = b.product.swap(ctx, path, in)
			return err
		})
		if err != nil {
			return m, err
		}
		if done.Result.Swapped == nil {
			return m, fmt.Errorf("restore %d does not tell of its swap", done.ID)
		}
		m.Agent = append(m.Agent, float64(done.Result.Swapped.UnavailableMicros)/1e3)
		m.Client = append(m.Client, float64(gap.Microseconds())/1e3)
		b.say("  swap     %-58s %7.2f ms told, %7.2f ms seen", l.name, m.Agent[len(m.Agent)-1], m.Client[len(m.Client)-1])
		made = append(made, done.ID)
		path, in = "/restores/"+strconv.FormatInt(done.ID, 10)+"/undo", l.ask(nil)
	}
	return m, b.product.discard(ctx, made[len(made)-1], l.name)
}

// ask completes a request that swaps: who asks every millisecond is not to stop it.
func (l live) ask(in map[string]any) map[string]any {
	out := map[string]any{"confirm": l.name, "sessions": wire.SessionsEnd}
	for k, v := range in {
		out[k] = v
	}
	return out
}

// swapped is what the API tells of a restore in place or an undo.
type swapped struct {
	ID     int64 `json:"id"`
	Result struct {
		Swapped *wire.SwapResult `json:"swapped"`
	} `json:"result"`
}

// swap asks for a restore in place or an undo and waits until it is completed.
func (p *product) swap(ctx context.Context, path string, in map[string]any) (done swapped, err error) {
	var ordered job
	if err := p.client.API(ctx, http.MethodPost, path, in, &ordered); err != nil {
		return done, err
	}
	own := "/restores/" + strconv.FormatInt(ordered.ID, 10)
	if _, err := p.await(ctx, own); err != nil {
		return done, err
	}
	return done, p.read(ctx, own, &done)
}

// discard removes what a restore in place has kept, and waits until it is gone.
func (p *product) discard(ctx context.Context, restore int64, target string) error {
	if restore == 0 {
		return nil
	}
	if _, err := p.client.DiscardKept(ctx, restore, target); err != nil {
		return err
	}
	_, err := p.client.AwaitRestore(ctx, restore, "keeps nothing", jobLimit, func(r stack.Restore) bool { return r.KeptState == "removed" })
	return err
}

// longestGap is the longest time between two answers that a client got while work was done.
func longestGap(ctx context.Context, open func(context.Context) (func(context.Context) error, func(), error), work func(context.Context) error) (time.Duration, error) {
	ask, end, err := open(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	if err := ask(ctx); err != nil {
		return 0, fmt.Errorf("ask before the swap: %w", err)
	}
	asking, stop := context.WithCancel(ctx)
	seen := make(chan time.Duration, 1)
	go func() {
		var longest time.Duration
		defer func() { seen <- longest }()
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-asking.Done():
				return
			case <-tick.C:
			}
			if ask(asking) == nil {
				now := time.Now()
				longest, last = max(longest, now.Sub(last)), now
			}
		}
	}()
	err = work(ctx)
	stop()
	return <-seen, err
}

// asker asks on a connection of a program's account, and connects anew when it was ended.
func (s *source) asker(ctx context.Context) (func(context.Context) error, func(), error) {
	const role, password = "bench_app", "not secret"
	sql := `DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '` + role + `') THEN CREATE ROLE ` + role + ` LOGIN; END IF; END $$;
		ALTER ROLE ` + role + ` PASSWORD '` + password + `'`
	if _, err := s.Exec(ctx, "postgres", sql); err != nil {
		return nil, nil, err
	}
	cfg, err := pgx.ParseConfig(s.UserDSN(role, password, s.live().name).Reveal())
	if err != nil {
		return nil, nil, err
	}
	var conn *pgx.Conn
	end := func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
		conn = nil
	}
	return func(ctx context.Context) error {
		if conn == nil {
			if conn, err = pgx.ConnectConfig(ctx, cfg); err != nil {
				conn = nil
				return err
			}
		}
		_, err := conn.Exec(ctx, "SELECT 1")
		if err != nil {
			end()
		}
		return err
	}, end, nil
}

// asker asks by one client program, which goes on after errors.
func (m *maria) asker(ctx context.Context) (func(context.Context) error, func(), error) {
	cmd := exec.CommandContext(ctx, m.Bin().Client, "--defaults-file="+m.OptionFile(), "--batch", "--force", "--skip-column-names", "--unbuffered", "--", m.live().name)
	cmd.Env = m.env()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		return nil, nil, err
	}
	lines := bufio.NewReader(r)
	return func(context.Context) error {
			if _, err := io.WriteString(stdin, "SELECT 1 FROM customers LIMIT 1;\n"); err != nil {
				return err
			}
			line, err := lines.ReadString('\n')
			for err == nil && strings.TrimSpace(line) == "" {
				line, err = lines.ReadString('\n')
			}
			if err == nil && strings.TrimSpace(line) != "1" {
				err = errors.New(line)
			}
			return err
		}, func() {
			_ = stdin.Close()
			_ = cmd.Wait()
			_ = r.Close()
		}, nil
}
