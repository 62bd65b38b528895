package metrics_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"devflowbackup/shared/testkit/dockit"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	root, err := dockit.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// onThePage are the metrics that docs/metrics.md has, which tests hold to scrapes of a controller and of an agent, with their labels.
func onThePage(t *testing.T) map[string][]string {
	t.Helper()
	target := []string{"job", "instance"} // Prometheus adds them
	out := map[string][]string{"up": target, "process_resident_memory_bytes": target}
	for _, m := range regexp.MustCompile("(?m)^\\| `(devflow_\\w+)` \\| (\\w+) \\| ([a-z_, ]*) ?\\| ").FindAllSubmatch(read(t, "docs/metrics.md"), -1) {
		name, labels := string(m[1]), slices.Clone(target)
		for _, l := range strings.Split(string(m[3]), ",") {
			if l = strings.TrimSpace(l); l != "" {
				labels = append(labels, l)
			}
		}
		if string(m[2]) == "histogram" {
			out[name+"_bucket"], out[name+"_sum"], out[name+"_count"] = append(slices.Clone(labels), "le"), labels, labels
			continue
		}
		out[name] = labels
	}
	if len(out) < 70 {
		t.Fatalf("%d metrics are on the page", len(out))
	}
	return out
}

var (
	token = regexp.MustCompile(`^(?:[a-zA-Z_:][a-zA-Z0-9_:]*|\d+(?:\.\d+)?|"(?:[^"\\]|\\.)*"|\[\d+[smhd]\]|=~|!~|!=|==|>=|<=|[-+*/%<>=(){},])`)
	word  = regexp.MustCompile(`^[a-zA-Z_:]`)
)

var (
	functions   = []string{"time", "rate", "increase", "absent", "histogram_quantile"}
	aggregators = []string{"sum", "max", "min", "count", "avg"}
	operators   = []string{"and", "or", "unless", "bool"}
)

// expression is PromQL as the files here use it: what is not known is refused. It holds metrics and labels against those that there are,
// and returns the labels that the result may have.
type expression struct {
	metrics map[string][]string
	tokens  []string
	named   []string // metrics
	by      []string
	grouped bool
}

func parse(metrics map[string][]string, text string) (*expression, error) {
	e := &expression{metrics: metrics}
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimSpace(rest) {
		tok := token.FindString(rest)
		if tok == "" {
			return nil, fmt.Errorf("cannot read %.20q", rest)
		}
		e.tokens, rest = append(e.tokens, tok), rest[len(tok):]
	}
	return e, e.check()
}

func (e *expression) at(i int) string {
	if i < len(e.tokens) {
		return e.tokens[i]
	}
	return ""
}

func (e *expression) check() error {
	var open []string
	for i := 0; i < len(e.tokens); i++ {
		tok := e.tokens[i]
		switch {
		case tok == "(":
			open = append(open, tok)
		case tok == ")":
			if len(open) == 0 {
				return fmt.Errorf("%q closes nothing", tok)
			}
			open = open[:len(open)-1]
		case strings.ContainsAny(tok[:1], "{}="), tok == "=~", tok == "!~":
			if tok != "==" {
				return fmt.Errorf("%q stands alone", tok)
			}
		case !word.MatchString(tok), slices.Contains(operators, tok):
		case slices.Contains(aggregators, tok):
			e.grouped = true
			if e.at(i+1) != "by" && e.at(i+1) != "(" {
				return fmt.Errorf("%s of nothing", tok)
			}
		case tok == "by":
			end, labels, err := e.list(i + 1)
			if err != nil {
				return err
			}
			i, e.by = end, append(e.by, labels...)
		case slices.Contains(functions, tok):
			if e.at(i+1) != "(" {
				return fmt.Errorf("%s is no metric", tok)
			}
		default:
			labels, known := e.metrics[tok]
			if !known {
				return fmt.Errorf("there is no metric %s", tok)
			}
			e.named = append(e.named, tok)
			if e.at(i+1) != "{" {
				break
			}
			for i += 2; e.at(i) != "}"; i += 3 {
				if e.at(i) == "," {
					i++
				}
				if !slices.Contains(labels, e.at(i)) {
					return fmt.Errorf("%s has no label %q", tok, e.at(i))
				}
				if op := e.at(i + 1); op != "=" && op != "!=" && op != "=~" && op != "!~" || !strings.HasPrefix(e.at(i+2), `"`) {
					return fmt.Errorf("%s is not compared with a text", e.at(i))
				}
			}
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("%q is not closed", open)
	}
	if len(e.named) == 0 {
		return fmt.Errorf("it names no metric")
	}
	for _, l := range e.by {
		if !slices.ContainsFunc(e.named, func(m string) bool { return slices.Contains(e.metrics[m], l) }) {
			return fmt.Errorf("it is grouped by %s, which none of its metrics has", l)
		}
	}
	return nil
}

// list reads (a, b) and returns where it ends.
func (e *expression) list(i int) (end int, labels []string, err error) {
	if e.at(i) != "(" {
		return 0, nil, fmt.Errorf("no list of labels")
	}
	for i++; e.at(i) != ")"; i++ {
		switch {
		case e.at(i) == ",":
		case word.MatchString(e.at(i)):
			labels = append(labels, e.at(i))
		default:
			return 0, nil, fmt.Errorf("%q is no label", e.at(i))
		}
	}
	return i, labels, nil
}

// labels are those that the result may have.
func (e *expression) labels() []string {
	if e.grouped {
		return e.by
	}
	var out []string
	for _, m := range e.named {
		out = append(out, e.metrics[m]...)
	}
	return out
}

// The checks that the tests below rest upon find what is wrong.
func TestParse(t *testing.T) {
	t.Parallel()
	known := map[string][]string{"a_total": {"job", "x"}, "b": {"y"}}
	for text, wrong := range map[string]string{
		`sum by (x) (rate(a_total{x=~"1|2", job!="z"}[5m])) / 2 > 0.1`: "",
		`max(b) == 0 or absent(b)`:                                     "",
		`sum(c)`:                                                       "no metric c",
		`a_total{y="1"}`:                                               `no label "y"`,
		`sum by (y) (a_total)`:                                         "grouped by y",
		`sum by (x) (rate(a_total[5m])`:                                "not closed",
		`max(b))`:                                                      "closes nothing",
		`rat(a_total[5m])`:                                             "no metric rat",
		`a_total{x=1}`:                                                 "compared with a text",
		`b ? 1`:                                                        "cannot read",
		`time() - 1`:                                                   "names no metric",
		`max by (y (b)`:                                                "no label",
		`{job="x"}`:                                                    "stands alone",
	} {
		_, err := parse(known, text)
		if (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v, want %q", text, err, wrong)
		}
	}
}

type rules struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

// Every rule is one that Prometheus takes, names what there is alone, says what it is about, and has its runbook.
func TestPackaging_Rules(t *testing.T) {
	t.Parallel()
	metrics := onThePage(t)
	var all rules
	if err := yaml.NewDecoder(bytes.NewReader(read(t, "packaging/prometheus/devflow-backup.rules.yml")), yaml.Strict()).Decode(&all); err != nil {
		t.Fatal(err)
	}
	_, runbook, _ := strings.Cut(string(read(t, "docs/troubleshooting.md")), "### Prometheus alerts\n")
	runbook, _, _ = strings.Cut(runbook, "\n## ")
	var names []string
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			if slices.Contains(names, r.Alert) || !strings.HasPrefix(r.Alert, "DevFlow") {
				t.Errorf("%q is no name, or is one that another alert has", r.Alert)
			}
			names = append(names, r.Alert)
			e, err := parse(metrics, r.Expr)
			if err != nil {
				t.Errorf("%s: %v", r.Alert, err)
				continue
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" || len(r.Labels) != 1 {
				t.Errorf("%s: labels %v", r.Alert, r.Labels)
			}
			if r.For != "" && !regexp.MustCompile(`^\d+[mh]$`).MatchString(r.For) {
				t.Errorf("%s: for %q", r.Alert, r.For)
			}
			if len(r.Annotations) != 3 || r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Annotations["runbook"] != "docs/troubleshooting.md#prometheus-alerts" {
				t.Errorf("%s: annotations %v", r.Alert, r.Annotations)
			}
			for _, text := range r.Annotations {
				for _, m := range regexp.MustCompile(`{{(.*?)}}`).FindAllStringSubmatch(text, -1) {
					label, is := strings.CutPrefix(strings.TrimSpace(m[1]), "$labels.")
					switch {
					case is && !slices.Contains(e.labels(), label):
						t.Errorf("%s: its result has no label %s", r.Alert, label)
					case !is && !slices.Contains([]string{"$value", "$value | humanizeDuration", "$value | humanizePercentage"}, strings.TrimSpace(m[1])):
						t.Errorf("%s: %q is no field", r.Alert, m[0])
					}
				}
			}
			if !strings.Contains(runbook, "| `"+r.Alert+"` |") {
				t.Errorf("docs/troubleshooting.md says nothing of %s", r.Alert)
			}
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)`").FindAllStringSubmatch(runbook, -1) {
		if !slices.Contains(names, m[1]) {
			t.Errorf("docs/troubleshooting.md tells of %s, which there is not", m[1])
		}
	}
	if len(names) < 20 {
		t.Errorf("%d alerts were found", len(names))
	}
}

// Every panel of the dashboard asks for what there is, and shows labels that the answer has.
func TestPackaging_Dashboard(t *testing.T) {
	t.Parallel()
	metrics := onThePage(t)
	var board struct {
		UID        string
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Panels []struct {
			ID         int
			Title      string
			Type       string
			Datasource struct{ UID string }
			Targets    []struct{ Expr, LegendFormat, RefID string }
		}
	}
	if err := json.Unmarshal(read(t, "packaging/grafana/devflow-backup.json"), &board); err != nil {
		t.Fatal(err)
	}
	variables := []string{}
	for _, v := range board.Templating.List {
		variables = append(variables, v.Name)
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if m == nil || !slices.Contains(metrics[m[1]], m[2]) {
			t.Errorf("variable %s: %q asks for what there is not", v.Name, v.Definition)
		}
	}
	if !slices.Contains(variables, "datasource") {
		t.Error("the data source cannot be chosen")
	}
	ids, asked := map[int]bool{}, 0
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("%s: the id %d has another panel", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: data source %q, %d targets", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, target := range p.Targets {
			asked++
			e, err := parse(metrics, target.Expr)
			if err != nil {
				t.Errorf("%s: %s: %v", p.Title, target.Expr, err)
				continue
			}
			for _, m := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !slices.Contains(variables, m[1]) {
					t.Errorf("%s: there is no variable %s", p.Title, m[1])
				}
			}
			for _, m := range regexp.MustCompile(`{{(.*?)}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(e.labels(), m[1]) {
					t.Errorf("%s: the answer has no label %s", p.Title, m[1])
				}
			}
		}
	}
	if asked < 40 {
		t.Errorf("%d questions were found", asked)
	}
}
