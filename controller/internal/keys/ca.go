package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

const (
	// backdate is how far before their issue certificates are valid: hosts with a clock that is weeks behind still connect.
	backdate     = 60 * 24 * time.Hour
	caValid      = 3650 * 24 * time.Hour
	serverValid  = 825 * 24 * time.Hour // from NotBefore to NotAfter; some clients accept no longer
	certPEMType  = "CERTIFICATE"
	keyPEMType   = "PRIVATE KEY"
	serialBits   = 127
	organization = "DevFlow Backup"
)

// CA is the installation's certificate authority: it signs the certificates of controllers and brokers. Agents trust it
// and nothing else. It is valid for ten years and signs servers only.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority.
func NewCA(now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{organization}, CommonName: "DevFlow Backup CA " + serial.Text(16)[:8]},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caValid),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// LoadCA reads an authority from what CertPEM and KeyPEM gave.
func LoadCA(certPEM, keyPEM []byte) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !cert.IsCA {
		return nil, errors.New("load CA: not an ECDSA certificate authority")
	}
	return &CA{cert: cert, key: key}, nil
}

// IssueServer makes a key and a certificate for a server with these names and addresses, valid for at least two years from now.
func (ca *CA) IssueServer(now time.Time, names []string, ips []net.IP) (tls.Certificate, error) {
	return ca.issue(now, names, ips, x509.ExtKeyUsageServerAuth)
}

// IssuePeer makes what IssueServer does, for a server that also connects to others of its kind, and is known to them by it.
func (ca *CA) IssuePeer(now time.Time, names []string, ips []net.IP) (tls.Certificate, error) {
	return ca.issue(now, names, ips, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

func (ca *CA) issue(now time.Time, names []string, ips []net.IP, usage ...x509.ExtKeyUsage) (tls.Certificate, error) {
	if len(names)+len(ips) == 0 {
		return tls.Certificate{}, errors.New("issue server certificate: no name and no address given")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	notBefore := now.Add(-backdate)
	notAfter := notBefore.Add(serverValid)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	if !now.Before(notAfter) {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: the installation's CA expired at %s", ca.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	common := "devflow-controller"
	if len(names) > 0 && len(names[0]) <= 64 {
		common = names[0]
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{organization}, CommonName: common},
		NotBefore:    notBefore,
		NotAfter:     notAfter,
		DNSNames:     names,
		IPAddresses:  ips,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  usage,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// Pool holds this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Fingerprint is the SHA-256 of the certificate in lower-case hex: what enrolment tokens carry.
func (ca *CA) Fingerprint() string {
	sum := sha256.Sum256(ca.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Certificate is the authority's certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// CertPEM is the certificate, which is public.
func (ca *CA) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certPEMType, Bytes: ca.cert.Raw})
}

// KeyPEM is the private key.
func (ca *CA) KeyPEM() ([]byte, error) { return keyPEM(ca.key) }

// EncodeServer returns a certificate of IssueServer, with its chain, and its private key, both as PEM.
func EncodeServer(c tls.Certificate) (certPEM, privatePEM []byte, err error) {
	for _, der := range c.Certificate {
		certPEM = append(certPEM, pem.EncodeToMemory(&pem.Block{Type: certPEMType, Bytes: der})...)
	}
	privatePEM, err = keyPEM(c.PrivateKey)
	return certPEM, privatePEM, err
}

func keyPEM(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyPEMType, Bytes: der}), nil
}

func newSerial() (*big.Int, error) {
	// The top bit is set, so that every serial has the same length.
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits-1))
	if err != nil {
		return nil, err
	}
	return n.SetBit(n, serialBits-1, 1), nil
}
