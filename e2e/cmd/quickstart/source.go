package main

import (
	"context"
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"devflowbackup/e2e/stack"
)

// source is one of the demo's databases.
type source struct {
	engine string // for people
	word   string // what the database is called, apart from where it lies
	server stack.Server
	sql    string
	holds  string // what a dump tool may stumble over

	content stack.Content
}

//go:embed shop.sql
var shopSQL string

//go:embed warehouse.sql
var warehouseSQL string

//go:embed catalogue.sql
var catalogueSQL string

// name is the database's.
func (s *source) name() string { return s.server.Name(s.word) }

// fill makes the database.
func (s *source) fill(ctx context.Context) error {
	if err := s.server.Create(ctx, s.name()); err != nil {
		return err
	}
	if _, err := s.server.Exec(ctx, s.name(), s.sql); err != nil {
		return fmt.Errorf("fill the demo database %s: %w", s.word, err)
	}
	return nil
}

// read takes down what the database holds, by plain SQL.
func (s *source) read(ctx context.Context, st *story) (err error) {
	if s.content, err = s.server.Content(ctx, s.name()); err != nil {
		return err
	}
	st.note("%-10s  %-9s  %s rows in %d tables, with %s", s.engine, s.word, number(s.content.Rows()), len(s.content.Tables), s.holds)
	return nil
}

// trip is one way there and back: a database, the storage that it is backed up to, and by which codecs.
type trip struct {
	*source
	disk                    string // s3 or local
	compression, encryption string

	backup stack.Backup
	took   struct{ backup, verify, restore, byHand time.Duration }
	proven int64 // rows that both copies have as the source has them
}

// restored and recovered are the names of the copies.
func (t *trip) restored() string  { return t.server.Name(t.word + "_restored_" + t.disk) }
func (t *trip) recovered() string { return t.server.Name(t.word + "_recovered_" + t.disk) }

func (t *trip) codec() string { return t.compression + ", " + t.encryption }

// where says where the stored file lies.
func (t *trip) where() string {
	if t.disk == diskLocal {
		return "in the host's backup directory"
	}
	return "in the bucket"
}

// show is a copy's name as it is told: of a file without its directory.
func show(name string) string {
	if strings.HasPrefix(name, "/") {
		return filepath.Base(name)
	}
	return name
}
