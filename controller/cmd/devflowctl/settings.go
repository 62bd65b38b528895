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
	return settings{
		Server:    cmp.Or(c.flags.Server, c.env("DEVFLOW_URL"), file.Server),
		TokenFile: cmp.Or(c.flags.TokenFile, c.env("DEVFLOW_TOKEN_FILE"), file.TokenFile),
		CAFile:    cmp.Or(c.flags.CAFile, c.env("DEVFLOW_CA"), file.CAFile),
		Output:    cmp.Or(c.flags.Output, file.Output, outputTable),

		StorageCAFile: cmp.Or(c.flags.StorageCAFile, c.env("DEVFLOW_STORAGE_CA"), file.StorageCAFile),
	}, nil
}

func (c *ctl) settingsFile() (settings, error) {
	dir := c.env("XDG_CONFIG_HOME")
	if dir == "" {
		home := c.env("HOME")
		if home == "" {
			return settings{}, nil
		}
		dir = filepath.Join(home, ".config")
	}
	path := filepath.Join(dir, "devflow", "ctl.yaml")
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

// token prefers the file that a flag names, then the environment, then the file that the settings name.
func (c *ctl) token(s settings) (secret.String, error) {
	if c.flags.TokenFile == "" {
		if t := strings.TrimSpace(c.env("DEVFLOW_TOKEN")); t != "" {
			return secret.String(t), nil
		}
	}
	if s.TokenFile == "" {
		return "", usagef("no API token: give a file with it by --token-file, or the token in DEVFLOW_TOKEN")
	}
	t, err := secret.LoadFile(s.TokenFile)
	if err != nil {
		return "", usageError{err}
	}
	return secret.String(strings.TrimSpace(t.Reveal())), nil
}
