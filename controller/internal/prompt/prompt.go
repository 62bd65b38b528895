// Package prompt asks a person for a secret, or takes it from a pipe.
//
// Invariants: what is typed at a terminal is not shown; a secret is one line, and comes from nowhere else.
package prompt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"devflowbackup/shared/secret"
)

// maxLine is the longest secret, in bytes.
const maxLine = 4096

// Secret asks for one. From a terminal it is asked for twice with again, without a terminal the next line is it.
func Secret(in io.Reader, out io.Writer, what string, again bool) (secret.String, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) { //nolint:gosec // a file descriptor is small
		return line(in, what)
	}
	first, err := hidden(f, out, what+": ")
	if err != nil || !again {
		return first, err
	}
	second, err := hidden(f, out, what+" again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", fmt.Errorf("the two are not the same: type the same %s twice", what)
	}
	return first, nil
}

func hidden(f *os.File, out io.Writer, text string) (secret.String, error) {
	if _, err := io.WriteString(out, text); err != nil {
		return "", err
	}
	b, err := term.ReadPassword(int(f.Fd())) //nolint:gosec // a file descriptor is small
	_, _ = io.WriteString(out, "\n")
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	if len(b) == 0 {
		return "", errors.New("nothing was typed")
	}
	return secret.String(b), nil
}

func line(in io.Reader, what string) (secret.String, error) {
	if in == nil {
		in = strings.NewReader("")
	}
	text, err := bufio.NewReader(io.LimitReader(in, maxLine+1)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the %s: %w", what, err)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return "", fmt.Errorf("there is no %s: type it at a terminal, or write it to standard input", what)
	case len(text) > maxLine:
		return "", fmt.Errorf("the %s is longer than %d bytes", what, maxLine)
	}
	return secret.String(text), nil
}
