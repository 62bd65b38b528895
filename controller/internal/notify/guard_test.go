package notify_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/smtpkit"
	"devflowbackup/shared/testkit/webhookkit"
)

const key = "canary-key-of-the-webhook"

func hook(url string) controller.ChannelTarget {
	return controller.ChannelTarget{URL: secret.String(url), Secret: key}
}

// Every class of addresses that are not public is refused, in each of its spellings, and named.
func TestGuard_Classes(t *testing.T) {
	for addr, class := range map[string]string{
		"127.0.0.1": "loopback", "127.8.9.10": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback",
		"0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "::": "unspecified",
		"10.0.0.1": "private", "10.255.255.255": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private", "::ffff:192.168.1.1": "private",
		"fc00::1": "private", "fd12:3456::1": "private", "fec0::1": "private",
		"169.254.1.1": "link-local", "fe80::1": "link-local", "febf::1": "link-local", "fe80::1%eth0": "link-local",
		"169.254.169.254": "metadata", "::ffff:169.254.169.254": "metadata", "fd00:ec2::254": "metadata", "100.100.100.200": "metadata", "168.63.129.16": "metadata", "192.0.0.192": "metadata",
		"100.64.0.1": "carrier", "100.127.255.255": "carrier",
		"224.0.0.1": "multicast", "239.255.255.255": "multicast", "ff02::1": "multicast",
		"198.18.0.1": "benchmarks", "198.19.255.255": "benchmarks", "2001:2::1": "benchmarks", "192.0.2.1": "documentation", "198.51.100.7": "documentation", "203.0.113.9": "documentation",
		"2001:db8::1": "documentation", "3fff::1": "documentation",
		"240.0.0.1": "reserved", "255.255.255.255": "reserved", "192.0.0.1": "reserved", "192.88.99.1": "reserved", "100::1": "reserved",
		"64:ff9b::10.0.0.1": "private", "64:ff9b::169.254.169.254": "metadata", "64:ff9b:1::1": "clothes", "2002:7f00:1::": "loopback", "2002:a00:1::1": "private",
		"2001:0:1::1": "clothes", "::127.0.0.1": "clothes", "::ffff:0:10.0.0.1": "clothes",
		// Public ones.
		"1.1.1.1": "", "8.8.8.8": "", "11.0.0.1": "", "172.15.255.255": "", "172.32.0.1": "", "100.63.255.255": "", "100.128.0.1": "", "198.17.255.255": "", "198.20.0.1": "",
		"2606:4700::1111": "", "64:ff9b::1.1.1.1": "", "2002:101:101::1": "", "::ffff:8.8.8.8": "",
	} {
		got := notify.RefusedClass(netip.MustParseAddr(addr))
		if (class == "") != (got == "") || (!strings.Contains(got, class) && !strings.Contains(got, "clothes")) {
			t.Errorf("%s is %q; want %q", addr, got, class)
		}
	}
}

// Whatever is not public is not connected to, by any kind of channel, however it is written, and the receiver hears nothing.
func TestGuard_Refuses(t *testing.T) {
	t.Parallel()
	r := webhookkit.Start(t, webhookkit.Options{})
	mails := smtpkit.Start(t, smtpkit.Options{})
	_, port, _ := strings.Cut(r.Host, ":")
	s, _ := sender(t, notify.Options{DNS: dns(t, "127.0.0.1")})
	for _, url := range []string{
		r.URL, "http://localhost:" + port, "http://[::1]:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://0.0.0.0:" + port, "http://hook.example.com:" + port,
		"https://hook.example.com:" + port + "/canary-path", "https://10.0.0.1/canary-path?token=canary-token", "https://169.254.169.254/latest/meta-data", "https://[fd00:ec2::254]/",
	} {
		retry, err := s.Send(t.Context(), notify.KindWebhook, hook(url), message())
		fails(t, err, "not connected to", "alarms.allow")
		if !retry {
			t.Errorf("%s: what a changed configuration would mend is given up", url)
		}
	}
	_, err := s.Send(t.Context(), notify.KindEmail, controller.ChannelTarget{Host: mails.Host, Port: mails.Port, From: "a@b.test", To: []string{"c@d.test"}}, message())
	fails(t, err, "127.0.0.1 is not connected to", "loopback", "alarms.allow")
	_, err = s.Send(t.Context(), "ntfy", controller.ChannelTarget{URL: secret.String("ntfy://" + r.Host + "/canary-topic")}, message())
	fails(t, err, "127.0.0.1 is not connected to", "loopback", "alarms.allow")
	_, err = s.Ping(t.Context(), secret.String(r.URL+"/canary-ping"))
	fails(t, err, "127.0.0.1 is not connected to", "alarms.allow")
	if got := r.Requests(); len(got) > 0 {
		t.Errorf("%d requests came through", len(got))
	}
}

// What is allowed by a name is allowed for this name, and what is allowed by address for this address, whatever a name resolves to.
func TestGuard_Allows(t *testing.T) {
	t.Parallel()
	r := webhookkit.Start(t, webhookkit.Options{Secret: key})
	_, port, _ := strings.Cut(r.Host, ":")
	for _, c := range []struct {
		allow, host string
		refused     bool
	}{
		{"127.0.0.0/8", "127.0.0.1", false},
		{"127.0.0.1", "hook.example.com", false},
		{"hook.example.com", "hook.example.com", false},
		{"Hook.Example.com.", "hook.EXAMPLE.com", false},
		{"hook.example.com", "evil.example.com", true},
		{"hook.example.com", "hook.example.com.evil.test", true},
		{"hook.example.com", "127.0.0.1", true},
		{"127.0.0.2/32", "127.0.0.1", true},
		{"::1/128", "127.0.0.1", true},
	} {
		s, _ := sender(t, notify.Options{Allow: []string{c.allow}, DNS: dns(t, "127.0.0.1")})
		before := len(r.Requests())
		_, err := s.Send(t.Context(), notify.KindWebhook, hook("http://"+c.host+":"+port+"/x"), message())
		if (err != nil) != c.refused || (len(r.Requests()) == before) != c.refused {
			t.Errorf("%s with %s allowed: %v", c.host, c.allow, err)
		}
	}
	if _, err := notify.New(notify.Options{Allow: []string{"10.0.0.0/33"}}); err == nil {
		t.Error("a CIDR that is none was taken")
	}
}

// A name that resolves to what is allowed and to what is not reaches the first alone: the address that is dialled counts, each time.
func TestGuard_Rebinding(t *testing.T) {
	t.Parallel()
	r := webhookkit.Start(t, webhookkit.Options{})
	_, port, _ := strings.Cut(r.Host, ":")
	s, _ := sender(t, notify.Options{Allow: []string{"127.0.0.9/32"}, DNS: dns(t, "127.0.0.9", "127.0.0.1"), Timeout: 5 * time.Second})
	_, err := s.Send(t.Context(), notify.KindWebhook, hook("http://rebind.example.com:"+port+"/x"), message())
	fails(t, err)
	if got := r.Requests(); len(got) > 0 {
		t.Errorf("the second address was called")
	}
}

// Without encryption only what is allowed is spoken to, even where the address is public.
func TestGuard_Clear(t *testing.T) {
	t.Parallel()
	s, _ := sender(t, notify.Options{DNS: dns(t, "8.8.8.8"), Timeout: 2 * time.Second})
	_, err := s.Send(t.Context(), notify.KindWebhook, hook("http://hook.example.com/x"), message())
	fails(t, err, "8.8.8.8 is not connected to without encryption", "alarms.allow")
	_, err = s.Send(t.Context(), notify.KindEmail, controller.ChannelTarget{Host: "mail.example.com", TLS: "none", From: "a@b.test", To: []string{"c@d.test"}}, message())
	fails(t, err, "8.8.8.8 is not connected to without encryption", "alarms.allow")
}
