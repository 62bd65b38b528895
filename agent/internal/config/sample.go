package config

import _ "embed"

// Sample is a configuration file that sets nothing and explains every key.
//
//go:embed agent.yaml
var Sample []byte
