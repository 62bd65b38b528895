package main

import (
	"context"
	"fmt"
	"time"

	"devflowbackup/e2e/stack"
	"devflowbackup/shared/freeport"
)

// The parts of a run that was killed are ended by the kernel, PostgreSQL by an orderly stop, which takes a moment.
const predecessorTimeout = 20 * time.Second

func awaitPort(port int) error {
	var last error
	if err := stack.Within(context.Background(), predecessorTimeout, "the port is free", func(context.Context) (bool, error) {
		last = freeport.Check(port)
		return last == nil, nil
	}); err != nil {
		return last
	}
	return nil
}

func awaitEnd(dir string) error {
	var left []stack.Running
	if err := stack.Within(context.Background(), predecessorTimeout, "no process is left", func(context.Context) (bool, error) {
		left = stack.ProcessesIn(dir)
		return len(left) == 0, nil
	}); err != nil {
		return fmt.Errorf("processes of an earlier run work in %s: %v", dir, left)
	}
	return nil
}
