package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/secret"
)

const (
	project  = "bench"
	hostName = "bench-host"

	storageS3    = "s3"    // a bucket of the S3 server on this machine
	storageLocal = "local" // the host's own backup directory

	// jobLimit is how long a backup, a verification or a restore may take.
	jobLimit = 30 * time.Minute
)

// product is a running installation: controller, S3 server and one agent, with their default settings.
type product struct {
	controller *stack.Controller
	agent      *stack.Agent
	s3         *stack.S3
	client     *stack.Client
	http       *http.Client // keeps its connections
	token      secret.String
}

// install starts everything anew and assigns the databases to a project.
func install(ctx context.Context, s *stack.Stack, servers map[string]stack.Server, databases []string) (*product, error) {
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
	if err := p.connect(); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"project", "create", project},
		stack.StorageArgs(storageS3, p.s3),
		{"storage", "add", storageLocal, "--kind", "local"},
	} {
		if _, err := p.client.Do(ctx, args...); err != nil {
			return nil, err
		}
	}
	p.agent, err = s.NewAgent(hostName, stack.AgentOptions{
		Servers: servers, Local: true, InPlace: true,
		Extra: map[string]any{"log": map[string]any{"level": "info"}},
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
	if err := p.awaitListed(ctx, databases); err != nil {
		return nil, err
	}
	for _, name := range databases {
		if _, err := p.client.Do(ctx, "database", "assign", name, "--project", project); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// awaitListed waits until the controller knows the databases: the agent tells of one server after another.
func (p *product) awaitListed(ctx context.Context, databases []string) error {
	return stack.Within(ctx, time.Minute, fmt.Sprintf("the controller knows %v", databases), func(ctx context.Context) (bool, error) {
		found, err := p.client.Databases(ctx, hostName)
		if err != nil {
			return false, err
		}
		for _, name := range databases {
			if !slices.ContainsFunc(found, func(d stack.Database) bool { return d.Name == name }) {
				return false, nil
			}
		}
		return true, nil
	})
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
	for _, part := range []string{"s3", "controller", hostName, hostName + "-backups", "config", "logs"} {
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

// backup backs a database up to a storage: from before the API call until the API shows it as completed.
func (p *product) backup(ctx context.Context, database, storage string) (job, time.Duration, error) {
	began := time.Now()
	var ordered struct{ Items []struct{ Backup *job } }
	in := map[string]any{"project": project, "database": database, "storage": storage, "encryption": "age", "compression": "zstd", "level": 3}
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
func (p *product) restore(ctx context.Context, backup int64, instance, database string) (time.Duration, error) {
	began := time.Now()
	var ordered job
	in := map[string]any{"backup_id": backup, "to_server": hostName, "to_instance": instance, "to_database": database}
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

// await waits until what is at path is completed. It asks when an event says that something has changed, as a program that waits
// would: each question costs the machine that is measured. A failure and a second attempt end it: neither is a sample.
func (p *product) await(ctx context.Context, path string) (job, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, jobLimit, fmt.Errorf("it takes longer than %s", jobLimit))
	defer cancel()
	stream, err := p.get(ctx, "/events")
	if err != nil {
		return job{}, err
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		switch lines.Text() {
		case "event: hello", "event: backup", "event: restore":
		default:
			continue
		}
		var j job
		if err := p.read(ctx, path, &j); err != nil {
			return job{}, err
		}
		switch {
		case j.Status == "completed":
			return j, nil
		case j.Status == "failed":
			return job{}, fmt.Errorf("%s: it failed: %s: %s", path, j.ErrorCode, j.ErrorMessage)
		case j.Attempt > 1:
			return job{}, fmt.Errorf("%s: it needed a second attempt", path)
		}
	}
	if ctx.Err() != nil {
		return job{}, fmt.Errorf("%s: %w", path, context.Cause(ctx))
	}
	return job{}, fmt.Errorf("%s: the events ended: %w", path, lines.Err())
}

// read gets what is at a path of the API.
func (p *product) read(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, err := p.get(ctx, path)
	if err != nil {
		return err
	}
	defer body.Close()
	answer, err := io.ReadAll(body)
	if err == nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return fmt.Errorf("GET %s: read answer: %w", path, err)
	}
	return nil
}

// get asks for what is at a path of the API. The caller closes the answer.
func (p *product) get(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.controller.URL()+"/api/v1"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.token.Reveal())
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return nil, fmt.Errorf("GET %s: status %d: %s", path, resp.StatusCode, said)
	}
	return resp.Body, nil
}

// connect makes the client that asks.
func (p *product) connect() (err error) {
	if p.token, err = secret.LoadFile(p.client.TokenFile); err != nil {
		return err
	}
	pem, err := os.ReadFile(p.client.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", p.client.CAFile)
	}
	p.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	return nil
}
