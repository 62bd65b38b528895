package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

// Who runs when: a warm-up but for the cold, then rounds, every second one in reverse order, and no more samples than asked for.
func TestInterleave(t *testing.T) {
	var order []string
	side := func(name string, cold bool, most int) runner {
		return runner{name: name, cold: cold, most: most, run: func(context.Context) (time.Duration, error) {
			order = append(order, name)
			return time.Duration(len(order)) * time.Second, nil
		}}
	}
	all, err := interleave(t.Context(), 3, func(string, ...any) {}, side("a", false, 0), side("b", false, 0), side("slow", true, 1))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(order, " "), "a b slow b a a b b a"; got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
	for i, want := range [][]float64{{5, 6, 9}, {4, 7, 8}, {3}} {
		if got := all[i].Seconds; !slices.Equal(got, want) {
			t.Errorf("%s has the samples %v, want %v", all[i].Name, got, want)
		}
	}
}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want float64
	}{
		{[]float64{1, 20, 3}, []float64{2, 10, 3}, 1},
		{[]float64{4, 100, 100}, []float64{8}, 0.5}, // in the same rounds only
		{[]float64{3, 5}, []float64{1, 1}, 4},
	} {
		if got := ratio(c.a, c.b); got != c.want {
			t.Errorf("ratio(%v, %v) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestResult_verdict(t *testing.T) {
	for want, r := range map[string]result{
		"no target":                           {Value: 9},
		"target at most 1.25: met":            {Value: 1.25, Target: 1.25},
		"target at most 1: missed by 50 %":    {Value: 1.5, Target: 1},
		"target at least 2.2: met":            {Value: 2.3, Target: 2.2, Least: true},
		"target at least 2.2: missed by 50 %": {Value: 1.1, Target: 2.2, Least: true},
	} {
		if got := r.verdict(); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}

func TestBench_choose(t *testing.T) {
	b := &bench{}
	if err := b.choose("mariadb,local"); err != nil {
		t.Fatal(err)
	}
	if !b.wants(partPostgreSQL, partLocal) || b.wants(partSQLite, partMemory) {
		t.Errorf("mariadb,local chose %v", b.only)
	}
	for _, names := range []string{"", "mariadb,", "abcd"} {
		if err := b.choose(names); err == nil {
			t.Errorf("-only %q was taken", names)
		}
	}
}

// Each row has a value for each column and nothing that a text file would have to quote, and it is the same at each run.
func TestTables(t *testing.T) {
	var first, second []byte
	for _, out := range []*[]byte{&first, &second} {
		p := newProse()
		for _, tab := range tables {
			var b bytes.Buffer
			if err := tab.rows(&b, p, 200); err != nil {
				t.Fatal(err)
			}
			columns := strings.Count(strings.ReplaceAll(strings.ReplaceAll(tab.columns, "(12,2)", ""), "(10,2)", ""), ",") + 1
			if strings.Contains(tab.columns, "PRIMARY KEY (") {
				columns -= 2
			}
			for line := range strings.Lines(b.String()) {
				values := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
				if len(values) != columns {
					t.Fatalf("%s: %d values for %d columns: %q", tab.name, len(values), columns, line)
				}
				for _, v := range values {
					if strings.HasPrefix(v, `"`) || strings.Contains(v, `\`) {
						t.Fatalf("%s: %q would have to be quoted", tab.name, v)
					}
				}
			}
			*out = append(*out, b.Bytes()...)
		}
	}
	if !bytes.Equal(first, second) {
		t.Error("two runs make different rows")
	}
}
