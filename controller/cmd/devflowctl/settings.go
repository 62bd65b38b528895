package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"devflowbackup/shared/secret"
)

// settings say which controller to call, and how to print. The file knows no other keys.
type settings struct {
	Server    string `yaml:"server"`
	TokenFile string `yaml:"token_file"`
	CAFile    string `yaml:"ca_file"`
	Output    string `yaml:"output"`

	StorageCAFile string `yaml:"storage_ca_file"` // for downloads
}

// settings merges flags, environment and file; a nearer one wins.
func (c *ctl) settings() (settings, error) {
	file, err := c.settingsFile()
	if err != nil {
		return settings{}, err
	}
	s := settings{
		Server:    cmp.Or(c.flags.Server, c.env("DEVFLOW_URL"), file.Server),
		TokenFile: cmp.Or(c.flags.TokenFile, c.env("DEVFLOW_TOKEN_FILE"), file.TokenFile),
		CAFile:    cmp.Or(c.flags.CAFile, c.env("DEVFLOW_CA"), file.CAFile),
		Output:    cmp.Or(c.flags.Output, file.Output, outputTable),

		StorageCAFile: cmp.Or(c.flags.StorageCAFile, c.env("DEVFLOW_STORAGE_CA"), file.StorageCAFile),
	}
	return s, nil
}

// withProfile lays a profile over the file's settings. One that was named wins over the environment too. Its token goes to its own server
// and to no other.
func (c *ctl) withProfile(s settings) (settings, *profile, error) {
	_, named, err := c.profileRef()
	if err != nil {
		return s, nil, err
	}
	p, err := c.loadProfile()
	if p == nil || err != nil {
		return s, nil, err
	}
	said := cmp.Or(c.flags.Server, c.env("DEVFLOW_URL"))
	if named && c.profile != "" {
		said = c.flags.Server
	}
	if said != "" && strings.TrimRight(said, "/") != p.Server {
		if named {
			return s, nil, usagef("the profile is of %s, and %s is asked for: leave one of them out", p.Server, said)
		}
		return s, nil, nil
	}
	s.Server = p.Server
	return s, p, nil
}

// configDir is where the user's files are; empty if nobody says where that is.
func (c *ctl) configDir() (string, error) {
	dir := c.env("XDG_CONFIG_HOME")
	if dir == "" {
		home := c.env("HOME")
		if home == "" {
			return "", nil
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "devflow"), nil
}

func (c *ctl) settingsFile() (settings, error) {
	dir, err := c.configDir()
	if err != nil || dir == "" {
		return settings{}, err
	}
	path := filepath.Join(dir, "ctl.yaml")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && c.flags.Server != "" {
		return settings{}, nil
	}
	if err != nil {
		return settings{}, usagef("read settings: %w", err)
	}
	var s settings
	if len(strings.TrimSpace(string(text))) == 0 {
		return s, nil
	}
	if err := yaml.UnmarshalWithOptions(text, &s, yaml.Strict()); err != nil {
		return s, usagef("%s: %s", path, strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	for _, p := range []*string{&s.TokenFile, &s.CAFile, &s.StorageCAFile} {
		if rest, ok := strings.CutPrefix(*p, "~/"); ok {
			*p = filepath.Join(c.env("HOME"), rest)
		} else if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return s, nil
}

func (c *ctl) loadOutput() error {
	s, err := c.settings()
	if err != nil {
		return err
	}
	if s.Output != outputTable && s.Output != outputJSON {
		return usagef("--output %q is not allowed; use table or json", s.Output)
	}
	c.output = s.Output
	return nil
}

// asProfile tells whether it is the profile that says who asks: nothing nearer does.
func (c *ctl) asProfile() bool {
	if c.flags.TokenFile != "" {
		return false
	}
	return c.profile != "" || strings.TrimSpace(c.env("DEVFLOW_TOKEN")) == "" && c.env("DEVFLOW_TOKEN_FILE") == ""
}

// token prefers the file that a flag names, then the profile that a flag names, then the environment, then a profile, then the file that the
// settings name.
func (c *ctl) token(s settings, p *profile) (secret.String, error) {
	if p != nil && p.Session != "" {
		p = nil // it has none
	}
	if p != nil && c.profile != "" && c.flags.TokenFile == "" {
		return secret.String(p.Token), nil
	}
	if c.flags.TokenFile == "" {
		if t := strings.TrimSpace(c.env("DEVFLOW_TOKEN")); t != "" {
			return secret.String(t), nil
		}
	}
	if p != nil && c.flags.TokenFile == "" && c.env("DEVFLOW_TOKEN_FILE") == "" {
		return secret.String(p.Token), nil
	}
	if s.TokenFile == "" {
		return "", usagef("no API token: `devflowctl login` keeps one; or give a file with it by --token-file, or the token in DEVFLOW_TOKEN")
	}
	t, err := secret.LoadFile(s.TokenFile)
	if err != nil {
		return "", usageError{err}
	}
	return secret.String(strings.TrimSpace(t.Reveal())), nil
}
