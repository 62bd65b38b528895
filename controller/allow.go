package controller

import (
	"net/netip"
	"regexp"
	"strings"
)

// Allowed are addresses and hosts inside the own network that may be called although they are not public.
type Allowed struct {
	prefixes []netip.Prefix
	hosts    map[string]bool
}

var hostName = regexp.MustCompile(`^(?i)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)

// IsHostName tells whether a text is the name of a host, or an IPv4 address; without a port.
func IsHostName(name string) bool {
	return len(name) <= 253 && hostName.MatchString(strings.TrimSuffix(name, "."))
}

// ParseAllowed reads CIDRs, addresses and host names. A host name allows what it resolves to, for this host alone.
func ParseAllowed(entries []string) (Allowed, error) {
	a := Allowed{hosts: make(map[string]bool)}
	for _, entry := range entries {
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			if prefix.Addr().Is4In6() {
				return a, Errorf(EInvalid, "%q is an IPv4 address in IPv6 clothes; give the IPv4 one", entry)
			}
			a.prefixes = append(a.prefixes, prefix.Masked())
			continue
		}
		if addr, err := netip.ParseAddr(entry); err == nil {
			addr = addr.Unmap().WithZone("")
			a.prefixes = append(a.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		if !IsHostName(entry) || strings.Trim(entry, "0123456789.") == "" {
			return a, Errorf(EInvalid, "%q is neither a CIDR such as 10.1.0.0/16, nor an address, nor the name of a host", entry)
		}
		a.hosts[hostKey(entry)] = true
	}
	return a, nil
}

// HasHost tells whether a host is allowed by its name, whatever it resolves to.
func (a Allowed) HasHost(name string) bool { return a.hosts[hostKey(name)] }

// HasAddr tells whether an address is allowed.
func (a Allowed) HasAddr(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range a.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func hostKey(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
