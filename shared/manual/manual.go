// Package manual writes what a program's commands say of themselves as man pages and shell completions.
//
// It is linked into no program that is shipped: the commands are built with the tag "manual" for packaging, and then do
// nothing else. The same commands, date and version give the same files, byte for byte.
package manual

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"devflowbackup/shared/version"
)

// Main writes into the directory that the command line names, then ends the process. The date of the pages is
// SOURCE_DATE_EPOCH.
func Main(root *cobra.Command, section string) {
	if err := run(root, section); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(root *cobra.Command, section string) error {
	if len(os.Args) != 2 {
		return errors.New("give a directory")
	}
	at, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return Write(root, os.Args[1], section, time.Unix(at, 0).UTC())
}

// Write makes dir/man with a page for each command, and dir/bash, dir/zsh and dir/fish with a completion each.
func Write(root *cobra.Command, dir, section string, date time.Time) error {
	name := root.Name()
	bash, zsh, fish := filepath.Join(dir, "bash", name), filepath.Join(dir, "zsh", "_"+name), filepath.Join(dir, "fish", name+".fish")
	for _, sub := range []string{filepath.Join(dir, "man"), filepath.Dir(bash), filepath.Dir(zsh), filepath.Dir(fish)} {
		if err := os.MkdirAll(sub, 0o755); err != nil { //nolint:gosec // for everybody
			return fmt.Errorf("write manual: %w", err)
		}
	}
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true // it bears the date of today
	header := &doc.GenManHeader{Section: section, Date: &date, Source: "DevFlow Backup " + version.Version, Manual: "DevFlow Backup"}
	for _, err := range []error{
		root.GenBashCompletionFileV2(bash, true),
		root.GenZshCompletionFile(zsh),
		root.GenFishCompletionFile(fish, true),
		pages(root, header, filepath.Join(dir, "man")),
	} {
		if err != nil {
			return fmt.Errorf("write manual of %s: %w", name, err)
		}
	}
	return nil
}

// pages leaves out the command that prints completions: they are installed.
func pages(root *cobra.Command, header *doc.GenManHeader, dir string) error {
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Hidden = true
		}
	}
	return doc.GenManTree(root, header, dir)
}
