package sqlite

import (
	"context"
	"os"
)

// OnReached calls f at named places of a copy.
func (e *Engine) OnReached(f func(place string)) { e.reached = f }

// WithoutOpenat2 makes the engine walk paths by itself.
func WithoutOpenat2(off bool) { noOpenat2 = off }

// WithoutExchange makes the engine believe that no file system can exchange names.
func WithoutExchange(off bool) { noExchange = off }

// Fold writes the log into the database.
func Fold(path string) error {
	database, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer database.Close()
	log, err := os.Open(path + walSuffix)
	if err != nil {
		return err
	}
	defer log.Close()
	return fold(database, log, log.Name())
}

// Attach tries to attach a file to a connection such as the engine's, and to load a library.
func Attach(ctx context.Context, path, other string) (attach, load error) {
	c, err := connect(ctx, pathURI(path)+"?mode=ro&"+commonSettings)
	if err != nil {
		return nil, nil
	}
	defer c.close()
	_, attach = c.ExecContext(ctx, "ATTACH ? AS other", other)
	_, load = c.ExecContext(ctx, "SELECT load_extension(?)", other)
	return attach, load
}
