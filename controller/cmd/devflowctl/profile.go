package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/version"
)

// profile is what a login keeps: a file of mode 0600 in the user's configuration directory.
type profile struct {
	Server  string `yaml:"server"`
	Token   string `yaml:"token,omitempty"`
	User    string `yaml:"user,omitempty"` // who signed in; then there is a session in place of a token
	Session string `yaml:"session,omitempty"`
	CSRF    string `yaml:"csrf,omitempty"`
	CA      string `yaml:"ca,omitempty"` // PEM; the system's authorities if empty
}

func (p *profile) session() client.Session {
	return client.Session{Cookie: secret.String(p.Session), CSRF: p.CSRF}
}

const defaultProfile = "default"

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// profileRef is the name of the profile that is meant, and whether it was said.
func (c *ctl) profileRef() (name string, named bool, err error) {
	name = cmp.Or(c.profile, c.env("DEVFLOW_PROFILE"))
	if name == "" {
		return defaultProfile, false, nil
	}
	if !profileName.MatchString(name) {
		return "", true, usagef("profile %.80q: use 1 to 64 letters, digits, _ and -", name)
	}
	return name, true, nil
}

var errNoHome = errors.New("where are profiles kept? Neither HOME nor XDG_CONFIG_HOME is set")

func (c *ctl) profileDir() (string, error) {
	dir, err := c.configDir()
	if err == nil && dir == "" {
		err = usageError{errNoHome}
	}
	return filepath.Join(dir, "profiles"), err
}

// loadProfile reads the profile that is meant; nil where none is kept and none was named.
func (c *ctl) loadProfile() (*profile, error) {
	name, named, err := c.profileRef()
	if err != nil {
		return nil, err
	}
	p, err := c.profileNamed(name)
	if errors.Is(err, fs.ErrNotExist) {
		if named {
			return nil, usagef("there is no profile %s: `devflowctl login URL --profile %s` makes it", name, name)
		}
		return nil, nil //nolint:nilnil // no profile is no error
	}
	if errors.Is(err, errNoHome) && !named {
		return nil, nil //nolint:nilnil // nor is no place for one
	}
	return p, err
}

// profileNamed reads a profile; fs.ErrNotExist if there is none.
func (c *ctl) profileNamed(name string) (*profile, error) {
	dir, err := c.profileDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+".yaml")
	text, err := secret.LoadFile(path)
	if err != nil {
		return nil, usagef("profile %s: %w", name, err)
	}
	return parseProfile(path, text)
}

func parseProfile(path string, text secret.String) (*profile, error) {
	var p profile
	if err := yaml.UnmarshalWithOptions([]byte(text.Reveal()), &p, yaml.Strict()); err != nil || p.Server == "" {
		return nil, usagef("%s is no profile: log in again", path) // the parser's error may show the token
	}
	return &p, nil
}

func (c *ctl) storeProfile(name string, p profile) (err error) {
	dir, err := c.profileDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of profiles: %w", err)
	}
	text, err := yaml.Marshal(p)
	if err != nil {
		return fmt.Errorf("write profile %s: %w", name, err)
	}
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write profile %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write profile %s: %w", name, err)
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name+".yaml"))
	}
	return err
}

func (c *ctl) loginCommand() *cobra.Command {
	var pin, user string
	cmd := &cobra.Command{
		Use: "login URL", Short: "Keep a controller's URL and CA, and who you are there, as a profile, so that no command needs them any more",
		Long: `Keeps a controller's URL, its CA and an API token in a file of mode 0600 in ~/.config/devflow/profiles, after it has tried them.
With --user a person signs in by name and password, as at the console, and the profile keeps the session: it ends after some time, and by
"devflowctl logout". People who sign in by an OpenID Connect provider have no password: they use a token.

The token, or the password, is asked for at the terminal, or is the first line of standard input.

The controller is trusted by the system's authorities, by the CA file that --ca names, or by the installation's own CA, which the
controller shows and whose SHA-256 --ca-sha256 gives: "sha256sum ca.pem" in the controller's data directory prints it.

Flags and the environment win over the profile. --profile, or DEVFLOW_PROFILE, names one of several.`,
		Example: `  devflowctl login https://backup.example.com:8443 --ca-sha256 SHA256
  devflowctl login https://backup.example.com:8443 --user anna
  devflowctl login https://other.example.com:8443 --profile other`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _, err := c.profileRef()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("user") && user == "" {
				return usagef("--user is empty; give a user's name, or leave it out for a token")
			}
			p := profile{Server: strings.TrimRight(args[0], "/")}
			ca, err := c.trusted(cmd, p.Server, pin)
			if err != nil {
				return err
			}
			p.CA = string(ca)
			opt := client.Options{URL: p.Server, CAPEM: ca, UserAgent: "devflowctl/" + version.Version}
			if _, err := client.New(opt); err != nil { // before anything is asked for
				return usageError{err}
			}
			if user != "" {
				return c.signIn(cmd.Context(), name, p, opt, user)
			}
			token, err := c.secret("API token", false)
			if err != nil {
				return err
			}
			p.Token = strings.TrimSpace(token.Reveal())
			opt.Token = secret.String(p.Token)
			cl, err := client.New(opt)
			if err != nil {
				return usageError{err}
			}
			who, err := cl.Whoami(cmd.Context())
			if err != nil {
				return fmt.Errorf("nothing is kept: %w", err)
			}
			if err := c.keep(cmd.Context(), name, p); err != nil {
				return err
			}
			if len(who.Permissions) == 0 && who.Kind == controller.TokenPanel {
				return c.done("profile %s: %s as %s, a token that acts for users of a panel and may do nothing here", name, p.Server, who.Name)
			}
			return c.done("profile %s: %s as %s", name, p.Server, who.Name)
		},
	}
	cmd.Flags().StringVar(&pin, "ca-sha256", "", "SHA-256 of the installation's CA certificate file, in hex")
	cmd.Flags().StringVar(&user, "user", "", "sign in by this name and its password, in place of a token")
	return cmd
}

// signIn keeps a session that it asks for by name and password.
func (c *ctl) signIn(ctx context.Context, name string, p profile, opt client.Options, user string) error {
	cl, err := client.New(opt)
	if err != nil {
		return usageError{err}
	}
	ways, err := cl.SignInMethods(ctx)
	if err != nil {
		return fmt.Errorf("nothing is kept: %w", err)
	}
	if !ways.Password {
		return errors.New("nothing is kept: nobody signs in by a password there; use a token")
	}
	password, err := c.secret("password of "+clean(user), false)
	if err != nil {
		return err
	}
	who, session, err := cl.SignIn(ctx, user, password)
	if err != nil {
		return fmt.Errorf("nothing is kept: %w", err)
	}
	p.User, p.Session, p.CSRF = who.Name, session.Cookie.Reveal(), session.CSRF
	if err := c.keep(ctx, name, p); err != nil {
		return err
	}
	until := ""
	if who.ExpiresAt != nil {
		until = fmt.Sprintf("; it ends %s, or when it is not used for %s", ago(who.ExpiresAt), span(time.Duration(who.IdleSeconds)*time.Second))
	}
	return c.done("profile %s: %s as %s%s", name, p.Server, who.Name, until)
}

// keep puts a profile in the place of the one before. The session of that one, which nobody could end any more, is ended.
func (c *ctl) keep(ctx context.Context, name string, p profile) error {
	before, _ := c.profileNamed(name)
	if err := c.storeProfile(name, p); err != nil {
		return err
	}
	if before != nil && before.Session != "" && before.Session != p.Session {
		if err := c.signOut(ctx, before); err != nil {
			fmt.Fprintf(c.err, "the session that the profile had before was not ended: %s\n", cleanLines(err.Error()))
		}
	}
	return nil
}

// signOut ends the session of a profile. One that has ended is no error.
func (c *ctl) signOut(ctx context.Context, p *profile) error {
	cl, err := client.New(client.Options{URL: p.Server, Session: p.session(), CAPEM: []byte(p.CA), UserAgent: "devflowctl/" + version.Version})
	if err != nil {
		return err
	}
	var problem *body.Problem
	if err = cl.SignOut(ctx); errors.As(err, &problem) && problem.Code == controller.EUnauthorized {
		return nil
	}
	return err
}

var hexSum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// trusted is the authority that the controller shall be trusted by; nil are the system's.
func (c *ctl) trusted(cmd *cobra.Command, server, pin string) ([]byte, error) {
	file := cmp.Or(c.flags.CAFile, c.env("DEVFLOW_CA"))
	if pin == "" {
		if file == "" {
			return nil, nil
		}
		ca, err := os.ReadFile(file)
		if err != nil {
			return nil, usagef("read the CA certificate: %w", err)
		}
		return ca, nil
	}
	pin = strings.ToLower(strings.ReplaceAll(pin, ":", ""))
	if !hexSum.MatchString(pin) {
		return nil, usagef("--ca-sha256 %.80q is not the 64 hexadecimal digits that sha256sum prints", pin)
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, usagef("server %.200q: not a URL such as https://backup.example.com:8443", server)
	}
	// What comes unverified is used for nothing before its checksum was compared, and nothing is sent to it.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}} //nolint:gosec // see above
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, u.Scheme+"://"+u.Host+"/ca.pem", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its CA: %w", server, err)
	}
	res, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its CA: %w", server, err)
	}
	defer func() { _ = res.Body.Close() }()
	ca, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("ask %s for its CA: %w", server, err)
	}
	if sum := sha256.Sum256(ca); res.StatusCode != http.StatusOK || hex.EncodeToString(sum[:]) != pin {
		return nil, fmt.Errorf("refused: %s does not show the CA with that SHA-256: it is not the controller that you mean, or its CA is another", server)
	}
	return ca, nil
}

func (c *ctl) logoutCommand() *cobra.Command {
	var revoke, local bool
	cmd := &cobra.Command{
		Use: "logout", Short: "Remove the profile that login has made, and end its session", Args: cobra.NoArgs,
		Long: `Remove the profile that login has made. A session is ended at the controller first; if that cannot be reached the profile is kept, unless
--local is given. A token may be in use elsewhere: it stays, unless --revoke is given.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if revoke && local {
				return usagef("--revoke and --local exclude each other")
			}
			name, _, err := c.profileRef()
			if err != nil {
				return err
			}
			dir, err := c.profileDir()
			if err != nil {
				return err
			}
			path := filepath.Join(dir, name+".yaml")
			// What others could read is ended all the more.
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return c.done("there is no profile %s", name)
			}
			var p *profile
			if err == nil {
				p, err = parseProfile(path, secret.String(text))
			}
			switch {
			case local: // also one that cannot be read
			case err != nil:
				return err
			case p.Session != "":
				err = c.signOut(cmd.Context(), p)
			case revoke:
				err = c.revokeOwn(cmd.Context(), p)
			}
			if err != nil && !local {
				return fmt.Errorf("the profile is kept: %w", err)
			}
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove profile %s: %w", name, err)
			}
			return c.done("profile %s is removed", name)
		},
	}
	cmd.Flags().BoolVar(&revoke, "revoke", false, "end the token too; it needs manage-tokens for that")
	cmd.Flags().BoolVar(&local, "local", false, "only remove the profile, and ask no controller")
	return cmd
}

func (c *ctl) revokeOwn(ctx context.Context, p *profile) error {
	cl, err := client.New(client.Options{URL: p.Server, Token: secret.String(p.Token), CAPEM: []byte(p.CA), UserAgent: "devflowctl/" + version.Version})
	if err != nil {
		return err
	}
	who, err := cl.Whoami(ctx)
	if err != nil {
		return err
	}
	return cl.RevokeToken(ctx, who.TokenID)
}

func (c *ctl) profilesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "profiles", Short: "List the profiles that login has made", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			names, err := c.profiles()
			if err != nil {
				return err
			}
			return c.show(names, func(r *rows) {
				r.head("PROFILE")
				for _, name := range names {
					r.row(name)
				}
			})
		},
	}
}

func (c *ctl) profiles() ([]string, error) {
	dir, err := c.profileDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the profiles: %w", err)
	}
	names := []string{}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && profileName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (c *ctl) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "The token or the person that commands are sent as, and what it may do where", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			who, err := cl.SignedIn(cmd.Context())
			if err != nil {
				return err
			}
			who.CSRFToken = "" // it is no one's to see
			return c.show(who, func(r *rows) {
				projects := numbers(who.Projects)
				if who.AllProjects {
					projects = "all"
				}
				if who.UserID != 0 {
					r.fact("user", who.Name)
					r.fact("id", number(who.UserID))
				} else {
					r.fact("token", who.Name)
					r.fact("id", number(who.TokenID))
				}
				r.fact("kind", who.Kind)
				r.fact("permissions", strings.Join(who.Permissions, ", "))
				r.fact("projects", projects)
				if who.SessionID != 0 {
					r.fact("session", fmt.Sprintf("%d, ends %s, or when it is not used for %s", who.SessionID, ago(who.ExpiresAt), span(time.Duration(who.IdleSeconds)*time.Second)))
				}
			})
		},
	}
}
