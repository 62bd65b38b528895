package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/catalog"
	"devflowbackup/controller/internal/config"
	"devflowbackup/controller/internal/keys"
	"devflowbackup/shared/pgserver"
	"devflowbackup/shared/secret"
)

// FirstStart is what the start that makes an installation has to tell, once.
type FirstStart struct {
	MasterKeyFile  string
	CAFile         string
	AdminTokenFile string
	RecoveryKey    secret.String // shown once, kept nowhere
}

// catalogRole owns the embedded catalog. It is no superuser: row-level security would not hold for one.
const catalogRole = "devflow"

// embeddedCatalog starts the private PostgreSQL in the data directory and returns the catalog's DSN.
func embeddedCatalog(ctx context.Context, cfg config.Config) (*pgserver.Server, secret.String, error) {
	server, err := pgserver.Start(ctx, pgserver.Options{
		Dir: filepath.Join(cfg.DataDir, "postgres"), Durable: true, Settings: map[string]string{"max_connections": "60"},
	})
	if err != nil {
		return nil, "", fmt.Errorf("start the embedded PostgreSQL: %w", err)
	}
	dsn, err := embeddedRole(ctx, cfg, server)
	if err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return nil, "", errors.Join(err, server.Stop(stopCtx))
	}
	return server, dsn, nil
}

func embeddedRole(ctx context.Context, cfg config.Config, server *pgserver.Server) (secret.String, error) {
	path := filepath.Join(cfg.DataDir, "catalog.password")
	password, err := secret.LoadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		password = secret.String(randomText(20))
		err = writeSecret(path, password.Reveal()+"\n")
	}
	if err != nil {
		return "", fmt.Errorf("catalog password: %w", err)
	}
	have, err := server.Exec(ctx, "postgres", "SELECT count(*) FROM pg_roles WHERE rolname = '"+catalogRole+"'")
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(have) == "0" {
		if err := server.CreateRole(ctx, catalogRole, password); err != nil {
			return "", err
		}
	}
	have, err = server.Exec(ctx, "postgres", "SELECT count(*) FROM pg_database WHERE datname = '"+catalogRole+"'")
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(have) == "0" {
		if err := server.CreateDatabase(ctx, catalogRole, catalogRole); err != nil {
			return "", err
		}
	}
	return server.UserDSN(catalogRole, password, catalogRole), nil
}

// sealer seals catalog values under the master key.
type sealer struct{ master *keys.Master }

func (s sealer) Seal(purpose string, plaintext []byte) ([]byte, error) {
	return s.master.Seal(purpose, plaintext), nil
}

func (s sealer) Open(purpose string, sealed []byte) ([]byte, error) {
	return s.master.Open(purpose, sealed)
}

// agentsJWT names the sealed secret that holds the agents' account with its revocations.
const agentsJWT = "agents_account_jwt"

// install is the installation as this controller opened or made it.
type install struct {
	*keys.Installation
	master    *keys.Master
	agentsJWT string      // empty before the first revocation
	first     *FirstStart // nil if another start made it
}

// keepAgentsJWT stores the agents' account for later starts.
func (i install) keepAgentsJWT(ctx context.Context, cat *catalog.Catalog, jwt string) error {
	return cat.PutSecret(ctx, agentsJWT, i.master.Seal(keys.Purpose(agentsJWT), []byte(jwt)))
}

// installation opens the installation of the catalog with the master key, or makes one on the first start ever.
func installation(ctx context.Context, cfg config.Config, cat *catalog.Catalog) (*install, error) {
	found, err := cat.Installation(ctx)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return firstStart(ctx, cfg, cat)
	}
	master, err := keys.LoadMaster(cfg.MasterKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("master key: %s does not exist, but this catalog belongs to an installation: copy its master key there, or recover it with the recovery key", cfg.MasterKeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if err := master.Verify(found.CheckValue); err != nil {
		return nil, fmt.Errorf("master key %s: %w: give this controller the key of the installation", cfg.MasterKeyFile, err)
	}
	in, err := keys.OpenSecrets(master, found.Secrets)
	if err != nil {
		return nil, fmt.Errorf("open the installation's keys: %w", err)
	}
	jwt := found.Secrets[agentsJWT]
	if jwt != nil {
		if jwt, err = master.Open(keys.Purpose(agentsJWT), jwt); err != nil {
			return nil, fmt.Errorf("open the agents' account: %w", err)
		}
	}
	cat.SetSealer(sealer{master})
	// The first start may have died after it had made the installation and before its token was in the catalog.
	if token, err := secret.LoadFile(tokenFile(cfg)); err == nil {
		if err := ensureAdmin(ctx, cat, token); err != nil && controller.ErrorCode(err) != controller.EConflict {
			return nil, err
		}
	}
	return &install{Installation: in, master: master, agentsJWT: string(jwt)}, nil
}

func firstStart(ctx context.Context, cfg config.Config, cat *catalog.Catalog) (*install, error) {
	first := &FirstStart{
		MasterKeyFile: cfg.MasterKeyFile, CAFile: filepath.Join(cfg.DataDir, "ca.pem"), AdminTokenFile: tokenFile(cfg),
	}
	// A master key that is there was given by the operator, or left by a start that did not come further.
	master, err := keys.LoadMaster(cfg.MasterKeyFile)
	made := false
	if errors.Is(err, fs.ErrNotExist) {
		master, err = keys.CreateMaster(cfg.MasterKeyFile)
		made = err == nil
	}
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	in, err := keys.New(time.Now())
	if err != nil {
		return nil, fmt.Errorf("make the installation's keys: %w", err)
	}
	sealed, err := in.SealSecrets(master)
	if err != nil {
		return nil, fmt.Errorf("seal the installation's keys: %w", err)
	}
	recovery, recipient, err := keys.NewRecoveryKey()
	if err != nil {
		return nil, fmt.Errorf("make the recovery key: %w", err)
	}
	escrow, err := keys.SealMaster(master, recipient)
	if err != nil {
		return nil, fmt.Errorf("seal the master key: %w", err)
	}
	// The file first: a token that is in the catalog and nowhere else would lock everyone out.
	token, newToken, err := adminToken(first.AdminTokenFile)
	if err != nil {
		return nil, err
	}
	cat.SetSealer(sealer{master})
	created, err := cat.CreateInstallation(ctx, catalog.Installation{UID: in.ID, CheckValue: master.CheckValue(), EscrowMaster: escrow, Secrets: sealed})
	if err != nil {
		return nil, err
	}
	if !created {
		// Another controller was first. A key that only this start made opens nothing and must not be mistaken for the right one.
		if made {
			if err := os.Remove(cfg.MasterKeyFile); err != nil {
				return nil, fmt.Errorf("remove the unused master key: %w", err)
			}
		}
		if newToken {
			if err := os.Remove(first.AdminTokenFile); err != nil {
				return nil, fmt.Errorf("remove the unused admin token: %w", err)
			}
		}
		return installation(ctx, cfg, cat)
	}
	if err := ensureAdmin(ctx, cat, token); err != nil {
		return nil, err
	}
	first.RecoveryKey = recovery
	return &install{Installation: in, master: master, first: first}, nil
}

func tokenFile(cfg config.Config) string { return filepath.Join(cfg.DataDir, "admin.token") }

// adminToken makes the first token in its file. One that is there was left by a start that did not come further.
func adminToken(path string) (token secret.String, made bool, err error) {
	token, err = secret.LoadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		token = secret.String("dfk_" + randomText(32))
		made, err = true, writeSecret(path, token.Reveal()+"\n")
	}
	if err != nil {
		return "", false, fmt.Errorf("admin token: %w", err)
	}
	return token, made, nil
}

// ensureAdmin makes the token the catalog's first; EConflict if there ever was another.
func ensureAdmin(ctx context.Context, cat *catalog.Catalog, token secret.String) error {
	hash := sha256.Sum256([]byte(token.Reveal()))
	return cat.EnsureAdminToken(ctx, hash[:])
}

// randomText is n random bytes in lower-case base32.
func randomText(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err) // never returns an error since Go 1.24
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// writeSecret replaces a file that only its owner may read, whole or not at all.
func writeSecret(path, text string) error { return writeFile(path, text, 0o600) }

func writeFile(path, text string, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err = f.WriteString(text); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
