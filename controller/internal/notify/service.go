package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"devflowbackup/controller"
	"devflowbackup/shared/secret"
)

// Command is the hidden command by which the program sends one message to a service of a third party.
const Command = "internal-send"

const (
	maxJob     = 1 << 20
	maxOutcome = 16 << 10
	maxReply   = 256 << 10 // of a service's answer, which may repeat the message
	childGrace = time.Second
)

// children are as many as run at once: each is a process of some 30 MB.
var children = make(chan struct{}, 4)

// job is what a child gets on standard input. What opens the target is nowhere else.
type job struct {
	Kind    string            `json:"kind"`
	URL     string            `json:"url"`
	Text    string            `json:"text"`
	Params  map[string]string `json:"params"`
	Allow   []string          `json:"allow"`
	CA      []byte            `json:"ca"`
	DNS     string            `json:"dns"`
	Timeout time.Duration     `json:"timeout"`
}

// outcome is what a child says on standard output; an empty error is success.
type outcome struct {
	Error   string        `json:"error"`
	Refused bool          `json:"refused"` // by the guard
	Wait    time.Duration `json:"wait"`
}

// service sends by the library of services, in a process of its own: the library takes no context and connects by what is global in a
// program. The child's environment is empty, its arguments are the command alone.
func (s *Sender) service(ctx context.Context, k Kind, t controller.ChannelTarget, m controller.Message) error {
	select {
	case children <- struct{}{}:
		defer func() { <-children }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	timeout := s.options.Timeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(deadline)-childGrace, 100*time.Millisecond)
	}
	text, params := serviceText(k, m)
	input, err := json.Marshal(job{Kind: k.Kind, URL: t.URL.Reveal(), Text: text, Params: params, Allow: s.options.Allow, CA: s.options.CA, DNS: s.options.DNS, Timeout: timeout})
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	output := &bounded{most: maxOutcome}
	cmd := exec.CommandContext(ctx, s.options.Exe, Command)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout = output
	cmd.WaitDelay = childGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at a terminal is for the controller
	ran := cmd.Run()
	var out outcome
	if err := json.Unmarshal(output.Bytes(), &out); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if ran == nil {
			ran = errors.New("its answer cannot be read")
		}
		return fmt.Errorf("run %s: %w", Command, ran)
	}
	switch {
	case out.Refused:
		return &refusedError{out.Error}
	case out.Error != "" && out.Wait > 0:
		return &laterError{error: errors.New(out.Error), wait: min(out.Wait, maxWait)}
	case out.Error != "":
		return errors.New(out.Error)
	}
	return nil
}

// serviceText is a message's text as a service gets it, and what it gets beside.
func serviceText(k Kind, m controller.Message) (string, map[string]string) {
	title := k.service.escape(subject(m))
	var params map[string]string
	if k.service.params != nil {
		params = k.service.params(m, title)
	}
	limit := k.service.limit
	head := ""
	if !k.service.hasName {
		head = title + "\n"
	}
	if k.service.fence {
		head = "```\n" + head
		limit -= len("\n```")
	}
	text := head + shortText(m, limit-len(head), k.service.escape)
	if k.service.fence {
		text += "\n```"
	}
	return text, params
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	bytes.Buffer
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.most - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// Child is the other side of it: it reads a job, sends one message, and writes what came of it. It replaces what is global in net/http,
// so a program that calls it does nothing else. The services of the library connect by http.DefaultTransport, or have a client that can
// be replaced; only such are in Kinds. Left out are those with a dialer of their own (smtp), those that go wherever a channel's
// maker says (generic, notifiarr, bark, signal, lark, wecom: a signed webhook does that better), those that only log, and those that
// nobody asked for (ifttt, join, pushbullet).
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(io.LimitReader(in, maxJob)).Decode(&j); err != nil {
		return errors.New("read job: it is none")
	}
	os.Stdout = os.Stderr // what the library might print is no outcome
	if err := json.NewEncoder(out).Encode(runChild(ctx, j)); err != nil {
		return fmt.Errorf("write outcome: %w", err)
	}
	return nil
}

func runChild(ctx context.Context, j job) outcome {
	t := controller.ChannelTarget{URL: secret.String(j.URL)}
	k, ok := kindOf(j.Kind)
	if !ok || k.service == nil {
		return outcome{Error: "it is not a service"}
	}
	g, err := newGuard(j.Allow, j.CA, j.DNS)
	if err != nil {
		return outcome{Error: scrub(err.Error(), t)}
	}
	watched := &watch{next: g.transport(maxReply)}
	http.DefaultTransport = watched
	http.DefaultClient = &http.Client{Transport: watched}
	done := make(chan error, 1)
	go func() { done <- send(k, j, watched) }()
	ctx, cancel := context.WithTimeoutCause(ctx, j.Timeout, fmt.Errorf("no answer within %s", j.Timeout.Round(100*time.Millisecond)))
	defer cancel()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	requests, seen := watched.outcome()
	switch {
	case seen != nil:
		err = seen // it says more than what the library makes of it, which may be nothing at all
	case err == nil && requests == 0:
		err = errors.New("the library sent nothing")
	}
	if err == nil {
		return outcome{}
	}
	o := outcome{Error: scrub(err.Error(), t)}
	var refused *refusedError
	if errors.As(err, &refused) {
		o.Refused, o.Error = true, scrub(refused.Error(), t)
	}
	var later *laterError
	if errors.As(err, &later) {
		o.Wait = later.wait
	}
	return o
}

// send has the library send. Its loggers get nothing to write.
func send(k Kind, j job, through http.RoundTripper) (err error) {
	defer func() {
		if p := recover(); p != nil { // zulip's closes an answer that it did not get
			err = errors.New("the library panicked")
		}
	}()
	u, err := url.Parse(j.URL)
	if err != nil {
		return errors.New("the URL cannot be read")
	}
	svc := k.service.sender()
	if err := svc.Initialize(u, nil); err != nil {
		return fmt.Errorf("set up %s: %w", k.Kind, err)
	}
	client := &http.Client{Transport: through}
	switch c := svc.(type) {
	case interface{ SetHTTPClient(*http.Client) }:
		c.SetHTTPClient(client)
	case interface{ GetHTTPClient() *http.Client }:
		own := c.GetHTTPClient()
		if own == nil {
			return errors.New("the library has no client to replace")
		}
		*own = *client
	}
	params := types.Params(j.Params)
	if params == nil {
		params = types.Params{}
	}
	return svc.Send(j.Text, &params)
}

// watch carries the library's requests and remembers the first that went wrong. Anything but 2xx is an error here already: the library
// would retry by itself, or take a failure for success.
type watch struct {
	next http.RoundTripper

	mu       sync.Mutex
	requests int
	failed   error
}

func (w *watch) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := w.next.RoundTrip(req)
	if err == nil && (res.StatusCode < 200 || res.StatusCode >= 300) {
		err = answer(req.URL.Host, res, time.Now())
		_ = res.Body.Close()
	} else if err != nil {
		err = fmt.Errorf("call %s: %w", req.URL.Host, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	if err != nil {
		if w.failed == nil {
			w.failed = err
		}
		return nil, err
	}
	return res, nil
}

func (w *watch) outcome() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests, w.failed
}
