package dockit

import "strings"

// simple are the simple commands of a shell text, as words without quotes, each with the line that it begins on, from 0. What a command
// substitution holds comes as commands of its own, and its place is taken by one word. Variables stay as they are written.
func simple(text string) []shellCommand {
	s := shell{text: text}
	s.read(false)
	return s.commands
}

type shellCommand struct {
	line  int
	words []string
}

// shell reads words from text, from at on.
type shell struct {
	text     string
	at, line int
	commands []shellCommand
}

// read takes commands until the text ends or, inside a substitution, until its closing parenthesis.
func (s *shell) read(inside bool) {
	var (
		now  shellCommand
		word strings.Builder
		some bool // a word has begun, perhaps with an empty quote
		into bool // the next word is where output goes
	)
	endWord := func() {
		if some {
			if !into {
				if len(now.words) == 0 {
					now.line = s.line
				}
				now.words = append(now.words, word.String())
			}
			into = false
		}
		word.Reset()
		some = false
	}
	end := func() {
		endWord()
		if len(now.words) > 0 {
			s.commands = append(s.commands, now)
		}
		now = shellCommand{}
	}
	for s.at < len(s.text) {
		c := s.text[s.at]
		rest := s.text[s.at:]
		s.at++
		switch {
		case strings.HasPrefix(rest, "\\\n"):
			s.at++
			endWord()
			s.line++
		case c == '\\' && s.at < len(s.text):
			word.WriteByte(s.text[s.at])
			some = true
			s.at++
		case c == '\'':
			n := strings.IndexByte(s.text[s.at:], '\'')
			if n < 0 {
				n = len(s.text) - s.at
			}
			word.WriteString(s.text[s.at : s.at+n])
			s.line += strings.Count(s.text[s.at:s.at+n], "\n")
			some = true
			s.at = min(s.at+n+1, len(s.text))
		case c == '"':
			some = true
			for s.at < len(s.text) && s.text[s.at] != '"' {
				switch {
				case s.text[s.at] == '\\' && s.at+1 < len(s.text):
					s.at++
					word.WriteByte(s.text[s.at])
				case strings.HasPrefix(s.text[s.at:], "$("):
					s.at += 2
					s.read(true)
					word.WriteString("SUBSTITUTED")
					continue
				default:
					word.WriteByte(s.text[s.at])
				}
				s.at++
			}
			s.at++
		case strings.HasPrefix(rest, "$("):
			s.at++
			s.read(true)
			word.WriteString("SUBSTITUTED")
			some = true
		case c == '#' && !some:
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			s.at += n - 1
		case c == ')' && inside:
			end()
			return
		case c == '\n':
			end()
			s.line++
		case strings.IndexByte(";|&(){}", c) >= 0 && !strings.HasPrefix(rest, "{") && c != '}':
			end()
		case c == '<' || c == '>':
			if w := word.String(); w == "1" || w == "2" {
				word.Reset()
				some = false
			}
			endWord()
			for s.at < len(s.text) && strings.IndexByte("<>&", s.text[s.at]) >= 0 {
				s.at++
			}
			into = true
		case c == ' ' || c == '\t':
			endWord()
		default:
			word.WriteByte(c)
			some = true
		}
	}
	end()
}
