package credentials

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // Key identifiers are SHA-1 by their definition (RFC 5280, section 4.2.1.2).
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// CertificateRequest says what an application instance certificate is for.
type CertificateRequest struct {
	// ApplicationURI is required: "urn:plant-7:edgefleet:worker". It has to be
	// unique among the applications that a server knows.
	ApplicationURI string
	// CommonName is what people see in a server's list of clients; empty is
	// "edgefleet".
	CommonName   string
	Organization string
	// Hosts are the names and IP addresses of the machine, if they are known.
	Hosts []string
	// NotBefore (zero: an hour ago, for clocks that differ) and Lifetime (0:
	// two years).
	NotBefore time.Time
	Lifetime  time.Duration
	// KeyBits is 2048 (the default), 3072 or 4096, which all of the policies
	// take.
	KeyBits int
}

// NewCertificate makes a self-signed application instance certificate (OPC
// 10000-6, section 6.2.2) and its key.
func NewCertificate(q CertificateRequest) (*x509.Certificate, *rsa.PrivateKey, error) {
	uri, err := url.Parse(q.ApplicationURI)
	if err != nil || !uri.IsAbs() {
		return nil, nil, fmt.Errorf("the application URI %q: want an absolute URI such as urn:plant-7:edgefleet:worker", q.ApplicationURI)
	}
	if q.KeyBits == 0 {
		q.KeyBits = 2048
	}
	if q.KeyBits != 2048 && q.KeyBits != 3072 && q.KeyBits != 4096 {
		return nil, nil, fmt.Errorf("a key of %d bits: want 2048, 3072 or 4096", q.KeyBits)
	}
	if q.CommonName == "" {
		q.CommonName = "edgefleet"
	}
	if q.NotBefore.IsZero() {
		q.NotBefore = time.Now().Add(-time.Hour)
	}
	if q.Lifetime <= 0 {
		q.Lifetime = 2 * 365 * 24 * time.Hour
	}
	key, err := rsa.GenerateKey(rand.Reader, q.KeyBits)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("making a serial number: %w", err)
	}
	keyID := sha1.Sum(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: q.CommonName},
		NotBefore:    q.NotBefore,
		NotAfter:     q.NotBefore.Add(q.Lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment |
			x509.KeyUsageDataEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		SubjectKeyId:          keyID[:],
		AuthorityKeyId:        keyID[:],
		URIs:                  []*url.URL{uri},
		SignatureAlgorithm:    x509.SHA256WithRSA,
	}
	if q.Organization != "" {
		template.Subject.Organization = []string{q.Organization}
	}
	for _, host := range q.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing the certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the certificate back: %w", err)
	}
	return cert, key, nil
}

// encode returns a certificate and its key in the PEM form.
func encode(cert *x509.Certificate, key *rsa.PrivateKey) (certText, keyText []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
