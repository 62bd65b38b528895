package freeport

import (
	"net"
	"strings"
	"testing"
)

func TestPick(t *testing.T) {
	first, err := Pick()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", Address(first))
	if err != nil {
		t.Fatalf("port %d is not free: %v", first, err)
	}
	defer l.Close()
	if err := Check(first); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("a taken port: %v", err)
	}
	second, err := Pick(first)
	if err != nil {
		t.Fatal(err)
	}
	if second == first || second < firstPort || second > lastPort {
		t.Errorf("got port %d after %d", second, first)
	}
	if err := Check(second); err != nil {
		t.Error(err)
	}
	// Given once, it is not given again, though nobody listens on it yet.
	if third, err := Pick(second); err != nil || third == second {
		t.Errorf("got %d again, %v", third, err)
	}
}
