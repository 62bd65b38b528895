package config

import _ "embed"

// Sample is a configuration file that sets nothing and explains every key.
//
//go:embed controller.yaml
var Sample []byte
