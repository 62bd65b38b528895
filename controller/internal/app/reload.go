package app

import (
	"strings"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller/internal/config"
)

// Reload puts in force what of a changed configuration can change while the controller runs: tls, whose files are read again in
// any case, and log.level. What needs a restart is named in the log and stays. On an error nothing has changed. To be called between
// Start and Stop.
func (a *App) Reload(cfg config.Config) error {
	if err := a.certificates.Use(cfg.TLS.CertFile, cfg.TLS.KeyFile); err != nil {
		return err
	}
	a.log.SetLevel(hclog.LevelFromString(cfg.Log.Level))
	var fixed []string
	for _, key := range config.Changed(a.cfg, cfg) {
		if !config.Reloaded(key) {
			fixed = append(fixed, key)
		}
	}
	if len(fixed) > 0 {
		a.log.Warn("these changes need a restart of the controller", "keys", strings.Join(fixed, ", "))
	}
	a.log.Info("configuration read anew")
	return nil
}
