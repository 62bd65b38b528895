package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"devflowbackup/e2e/stack"
)

const (
	project    = "bench"
	hostName   = "bench-host"
	storageArg = "local-s3"

	// jobLimit is how long a backup, a verification or a restore may take.
	jobLimit = 30 * time.Minute
)

// product is a running installation: controller, S3 server and one agent, with their default settings.
type product struct {
	controller *stack.Controller
	agent      *stack.Agent
	s3         *stack.S3
	client     *stack.Client
}

// install starts everything anew and assigns the databases to a project.
func install(ctx context.Context, s *stack.Stack, src *source, databases map[string]int) (*product, error) {
	p := &product{}
	var err error
	if p.s3, err = s.StartS3(ctx, "s3", stack.S3Options{}); err != nil {
		return nil, err
	}
	if p.controller, err = s.NewController("controller", stack.ControllerOptions{}); err != nil {
		return nil, err
	}
	if err := p.controller.Start(ctx); err != nil {
		return nil, err
	}
	p.client = p.controller.Admin()
	for _, args := range [][]string{{"project", "create", project}, stack.StorageArgs(storageArg, p.s3)} {
		if _, err := p.client.Do(ctx, args...); err != nil {
			return nil, err
		}
	}
	p.agent, err = s.NewAgent(hostName, stack.AgentOptions{
		Servers: map[string]stack.Server{"main": src.Postgres},
		Extra:    map[string]any{"log": map[string]any{"level": "info"}},
	})
	if err != nil {
		return nil, err
	}
	if err := p.agent.Enroll(ctx, p.controller, project); err != nil {
		return nil, err
	}
	if err := p.agent.StartOnline(ctx, p.controller, len(databases)); err != nil {
		return nil, err
	}
	for name := range databases {
		if _, err := p.client.Do(ctx, "database", "assign", name, "--project", project); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// restart starts controller and agent anew and waits until the new agent is known: a job that is sent before that waits for
// a time that has nothing to do with its size.
func (p *product) restart(ctx context.Context) error {
	if err := errors.Join(p.agent.Stop(ctx), p.controller.Restart(ctx)); err != nil {
		return err
	}
	began := time.Now()
	if err := p.agent.Start(); err != nil {
		return err
	}
	return stack.Within(ctx, time.Minute, "the new agent is online", func(ctx context.Context) (bool, error) {
		var server struct {
			LastSeenAt *time.Time `json:"last_seen_at"`
		}
		err := p.client.API(ctx, http.MethodGet, "/servers/"+hostName, nil, &server)
		return server.LastSeenAt != nil && server.LastSeenAt.After(began), err
	})
}

// clearInstallation removes what an installation has left; the measured databases stay.
func clearInstallation(dir string) error {
	for _, part := range []string{"s3", "controller", hostName, "config", "logs"} {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			return err
		}
	}
	return nil
}

// job is what the API tells of a backup or a restore.
type job struct {
	ID           int64  `json:"id"`
	Status       string `json:"status"`
	JobStatus    string `json:"job_status"`
	Attempt      int    `json:"attempt"`
	RawSize      int64  `json:"raw_size"`
	FileSize     int64  `json:"file_size"`
	ErrorCode    string `json:"error_code"`
	ErrorMessage string `json:"error_message"`
}

// backup backs a database up: from before the API call until the API shows it as completed.
func (p *product) backup(ctx context.Context, database string) (job, time.Duration, error) {
	began := time.Now()
	var ordered struct{ Items []struct{ Backup *job } }
	in := map[string]any{"project": project, "database": database, "encryption": "age", "compression": "zstd", "level": 3}
	if err := p.client.API(ctx, http.MethodPost, "/backups", in, &ordered); err != nil {
		return job{}, 0, err
	}
	if len(ordered.Items) != 1 || ordered.Items[0].Backup == nil {
		return job{}, 0, fmt.Errorf("back up %s: the API ordered nothing", database)
	}
	done, err := p.await(ctx, "/backups/"+strconv.FormatInt(ordered.Items[0].Backup.ID, 10))
	return done, time.Since(began), err
}

// restore restores a backup into a new database: from before the API call until the API shows it as completed.
func (p *product) restore(ctx context.Context, backup int64, database string) (time.Duration, error) {
	began := time.Now()
	var ordered job
	in := map[string]any{"backup_id": backup, "to_server": hostName, "to_database": database}
	if err := p.client.API(ctx, http.MethodPost, "/restores", in, &ordered); err != nil {
		return 0, err
	}
	_, err := p.await(ctx, "/restores/"+strconv.FormatInt(ordered.ID, 10))
	return time.Since(began), err
}

// verify reads the whole artifact and decodes it.
func (p *product) verify(ctx context.Context, backup int64) (time.Duration, error) {
	return timed(func() error {
		_, err := p.client.Do(ctx, "backup", "verify", strconv.FormatInt(backup, 10), "--level", "content", "--wait")
		return err
	})
}

// await waits until what is at path is completed. A failure and a second attempt end it: neither is a sample.
func (p *product) await(ctx context.Context, path string) (job, error) {
	var j job
	err := stack.Within(ctx, jobLimit, path+" is completed", func(ctx context.Context) (bool, error) {
		if err := p.client.API(ctx, http.MethodGet, path, nil, &j); err != nil {
			return false, err
		}
		switch {
		case j.Status == "failed":
			return false, stack.Hopeless(fmt.Errorf("%s: it failed: %s: %s", path, j.ErrorCode, j.ErrorMessage))
		case j.Attempt > 1:
			return false, stack.Hopeless(fmt.Errorf("%s: it needed a second attempt", path))
		}
		return j.Status == "completed", nil
	})
	return j, err
}
