package sqlite

import "context"

// OnReached calls f at named places of a copy.
func (e *Engine) OnReached(f func(place string)) { e.reached = f }

// WithoutOpenat2 makes the engine walk paths by itself.
func WithoutOpenat2(off bool) { noOpenat2 = off }

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
