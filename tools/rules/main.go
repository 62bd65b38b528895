// Command check-rules reads the expressions of alert rules (.yml) and Grafana dashboards (.json) with Prometheus's own parser.
//
// It is a module of its own: Prometheus's requirements shall not choose versions for the product.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	wrong, read := 0, 0
	for _, path := range os.Args[1:] {
		all, err := expressions(path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			wrong++
		}
		for where, text := range all {
			read++
			if _, err := parser.NewParser(parser.Options{}).ParseExpr(text); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %s: %v\n", path, where, err)
				wrong++
			}
		}
	}
	fmt.Printf("    %d expressions read\n", read)
	if wrong > 0 || read == 0 {
		os.Exit(1)
	}
}

// expressions are those of a file, by where they stand. Variables of a dashboard stand in texts, where any text is right.
func expressions(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	if strings.HasSuffix(path, ".json") {
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ RefID, Expr string }
			}
		}
		if err := json.Unmarshal(text, &board); err != nil {
			return nil, err
		}
		for _, p := range board.Panels {
			for _, t := range p.Targets {
				out[p.Title+" "+t.RefID] = t.Expr
			}
		}
		return out, nil
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		return nil, err
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			out[r.Alert] = r.Expr
		}
	}
	return out, nil
}
