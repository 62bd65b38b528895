package stack

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"devflowbackup/shared/secret"
)

// Client talks to one controller with one token: by devflowctl as people do, or by HTTP.
type Client struct {
	CAFile    string
	TokenFile string

	stack      *Stack
	controller *Controller
	key        string
	behalf     string
	at         string
}

// At is the client that calls another URL than the controller's own, also while the controller does not run.
func (c *Client) At(url string) *Client {
	elsewhere := *c
	elsewhere.at = url
	return &elsewhere
}

func (c *Client) url() string {
	if c.at != "" {
		return c.at
	}
	return c.controller.URL()
}

// OnBehalfOf is the client with a user of the panel named in each request of API.
func (c *Client) OnBehalfOf(user string) *Client {
	named := *c
	named.behalf = user
	return &named
}

// WithKey is the client with an Idempotency-Key on each request of API.
func (c *Client) WithKey(key string) *Client {
	keyed := *c
	keyed.key = strings.ReplaceAll(key, " ", "-")
	return &keyed
}

// Env are the settings by which devflowctl finds the controller.
func (c *Client) Env() []string {
	return []string{"DEVFLOW_URL=" + c.url(), "DEVFLOW_CA=" + c.CAFile, "DEVFLOW_TOKEN_FILE=" + c.TokenFile}
}

// program is the devflowctl that came with the controller.
func (c *Client) program() string {
	if bin := c.controller.opt.Bin; bin != "" {
		return filepath.Join(bin, "devflowctl")
	}
	return c.stack.Program("devflowctl")
}

// Ctl runs devflowctl to its end, whatever its status is.
func (c *Client) Ctl(ctx context.Context, args ...string) (Result, error) {
	return c.stack.run(ctx, c.program(), args, c.Env()...)
}

// Do runs devflowctl and returns an error with what it said if its status is not 0.
func (c *Client) Do(ctx context.Context, args ...string) (Result, error) {
	res, err := c.Ctl(ctx, args...)
	if err == nil && res.Code != 0 {
		err = errors.New(res.Text())
	}
	return res, err
}

// Read runs devflowctl with --output json and decodes what it prints. A status other than 0 is an error.
func (c *Client) Read(ctx context.Context, out any, args ...string) error {
	res, err := c.Do(ctx, append(args, "--output", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(res.Out), out); err != nil {
		return fmt.Errorf("%s: decode output: %w: %.200s", strings.Join(res.Args, " "), err, res.Out)
	}
	return nil
}

// API sends one request below /api/v1 and decodes the answer into out, if that is not nil. A status of 400 or more is a
// *ProblemError.
func (c *Client) API(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	httpClient, token, err := c.http(method)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if method != http.MethodGet {
		defer httpClient.CloseIdleConnections()
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url()+"/api/v1"+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Idempotency-Key", c.key)
	}
	if c.behalf != "" {
		req.Header.Set("DevFlow-Acting-User", c.behalf)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 400 {
		p := &ProblemError{Method: method, Path: path, Body: string(b)}
		_ = json.Unmarshal(b, p) // whatever else it is, Body shows it
		p.Status = resp.StatusCode
		return p
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: decode answer: %w", method, path, err)
	}
	return nil
}

// http is a client for one request, with the token. Questions share connections: whoever waits asks twenty times a second, and each
// handshake costs the machine milliseconds. Another request might be lost with a connection that has ended unseen.
func (c *Client) http(method string) (*http.Client, secret.String, error) {
	token, err := secret.LoadFile(c.TokenFile)
	if err != nil {
		return nil, "", err
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, "", err
	}
	if method == http.MethodGet {
		shared, _ := c.controller.asking.Load(string(pem))
		if client, ok := shared.(*http.Client); ok {
			return client, token, nil
		}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, "", fmt.Errorf("%s holds no certificate", c.CAFile)
	}
	// Without HTTP/2, whose idle connections a controller that stops would wait for.
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: method != http.MethodGet},
		Timeout:   time.Minute,
	}
	if method == http.MethodGet {
		c.controller.asking.Store(string(pem), client)
	}
	return client, token, nil
}

// ProblemError is an answer of the API that says why a request was not carried out.
type ProblemError struct {
	Method, Path string `json:"-"`
	Status       int    `json:"status"`
	Code         string `json:"code"`
	Detail       string `json:"detail"`
	Hint         string `json:"hint"`
	Body         string `json:"-"`
}

func (p *ProblemError) Error() string {
	return fmt.Sprintf("%s %s: status %d: %s", p.Method, p.Path, p.Status, strings.TrimSpace(p.Body))
}

// EnrolmentToken makes a token by which the host named server may enrol.
func (c *Client) EnrolmentToken(ctx context.Context, server, project string) (string, error) {
	args := []string{"server", "token", server}
	if project != "" {
		args = append(args, "--project", project)
	}
	var out struct{ Token string }
	if err := c.Read(ctx, &out, args...); err != nil {
		return "", err
	}
	if out.Token == "" {
		return "", errors.New("devflowctl server token printed no token")
	}
	return out.Token, nil
}

// AppKey exports the app key of a project, from which the keys of aes-256-cbc are derived.
func (c *Client) AppKey(ctx context.Context, project string) (string, error) {
	var out struct {
		AppKey string `json:"app_key"`
	}
	if err := c.Read(ctx, &out, "project", "key", project); err != nil {
		return "", err
	}
	if out.AppKey == "" {
		return "", fmt.Errorf("project %s has no app key", project)
	}
	return out.AppKey, nil
}

// Database is one row of the API's list of databases.
type Database struct {
	ID           int64
	Name         string
	Server       string
	Project      string
	MissingSince *string `json:"missing_since"`
}

// Databases lists what the named server has.
func (c *Client) Databases(ctx context.Context, server string) ([]Database, error) {
	var page struct{ Items []Database }
	if err := c.API(ctx, http.MethodGet, "/databases?server="+url.QueryEscape(server), nil, &page); err != nil {
		return nil, err
	}
	return page.Items, nil
}

// AwaitDatabase has the server's agent look, and waits until it has told of a database of that name, in so many of its instances.
func (c *Client) AwaitDatabase(ctx context.Context, server, name string, instances int) error {
	tries := 0
	return Within(ctx, 30*time.Second, fmt.Sprintf("database %q is found on %s", name, server), func(ctx context.Context) (bool, error) {
		all, err := c.Databases(ctx, server)
		if err != nil {
			return false, err
		}
		n := 0
		for _, d := range all {
			if d.Name == name {
				n++
			}
		}
		if n < instances && tries%10 == 0 { // a look takes a moment
			err = c.stack.look(server)
		}
		tries++
		return n >= instances, err
	})
}

// Online tells whether the server is online and has told of at least so many databases.
func (c *Client) Online(ctx context.Context, server string, databases int) (bool, error) {
	var s struct{ Online bool }
	if err := c.API(ctx, http.MethodGet, "/servers/"+url.PathEscape(server), nil, &s); err != nil || !s.Online {
		return false, err
	}
	if databases == 0 {
		return true, nil
	}
	found, err := c.Databases(ctx, server)
	return len(found) >= databases, err
}

// AddStorage adds an S3 server's bucket as a storage, the default one.
func (c *Client) AddStorage(ctx context.Context, name string, s3 *S3) error {
	_, err := c.Do(ctx, StorageArgs(name, s3)...)
	return err
}

// StorageArgs is the devflowctl command that adds an S3 server's bucket.
func StorageArgs(name string, s3 *S3, more ...string) []string {
	return append([]string{
		"storage", "add", name, "--endpoint", s3.URL(), "--region", s3.Region, "--bucket", s3.Bucket, "--path-style",
		"--access-key", s3.AccessKey, "--secret-key-file", s3.SecretKeyFile, "--default",
	}, more...)
}

// Backup is what tests look at of a backup.
type Backup struct {
	ID            int64
	Project       string
	DatabaseName  string  `json:"database_name"`
	Status        string  `json:"status"`
	Health        string  `json:"health"`
	FilePath      string  `json:"file_path"`
	FileName      string  `json:"file_name"`
	FileSize      int64   `json:"file_size"`
	Checksum      string  `json:"checksum"`
	RawSize       int64   `json:"raw_size"`
	RawChecksum   string  `json:"raw_checksum"`
	VerifiedAt    *string `json:"verified_at"`
	VerifiedLevel string  `json:"verified_level"`
	ErrorCode     string  `json:"error_code"`
	ErrorMessage  string  `json:"error_message"`
	ErrorHint     string  `json:"error_hint"`
	JobID         int64   `json:"job_id"`
	JobStatus     string  `json:"job_status"`
	Attempt       int     `json:"attempt"`
	Waiting       string  `json:"waiting"`
	StartedAt     *string `json:"started_at"`
	CompletedAt   *string `json:"completed_at"`
	// Of a schedule's backup.
	Kind         string     `json:"type"`
	ScheduleID   *int64     `json:"schedule_id"`
	OccurrenceAt *time.Time `json:"occurrence_at"`
	RetryOf      *int64     `json:"retry_of"`
}

// Backup reads one backup.
func (c *Client) Backup(ctx context.Context, id int64) (Backup, error) {
	var b Backup
	err := c.API(ctx, http.MethodGet, "/backups/"+strconv.FormatInt(id, 10), nil, &b)
	return b, err
}

// Backups lists the newest backups of a project.
func (c *Client) Backups(ctx context.Context, project string) ([]Backup, error) {
	var page struct{ Items []Backup }
	err := c.API(ctx, http.MethodGet, "/backups?limit=200&project="+url.QueryEscape(project), nil, &page)
	return page.Items, err
}

// AwaitBackup waits until a backup has the status.
func (c *Client) AwaitBackup(ctx context.Context, id int64, status string, limit time.Duration) (Backup, error) {
	var b Backup
	err := Within(ctx, limit, fmt.Sprintf("backup %d is %s", id, status), func(ctx context.Context) (bool, error) {
		var err error
		if b, err = c.Backup(ctx, id); err != nil {
			return false, err
		}
		if b.Status != status {
			return false, fmt.Errorf("it is %s (job %s, attempt %d, %s) %s %s", b.Status, b.JobStatus, b.Attempt, b.Waiting, b.ErrorCode, b.ErrorMessage)
		}
		return true, nil
	})
	return b, err
}
