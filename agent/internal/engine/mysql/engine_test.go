package mysql_test

import (
	"testing"

	"devflowbackup/agent/internal/engine/enginetest"
)

func TestConformance(t *testing.T) { enginetest.Run(t, harness()) }
