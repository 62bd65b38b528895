package app_test

import (
	"context"
	"testing"
	"time"
)

// A controller that answers is alive, on any address that it listens at; one that was stopped is not.
func TestApp_Alive(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		t.Run(listen, func(t *testing.T) {
			c := configuration(t)
			c.Listen = listen
			a, stop := run(t, c)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := a.Alive(ctx); err != nil {
				t.Fatal(err)
			}
			stop()
			if err := a.Alive(ctx); err == nil {
				t.Error("a stopped controller is alive")
			}
		})
	}
}
