package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"golang.org/x/crypto/ssh"
)

// minBits is the least size of an RSA key.
const minBits = 2048

var (
	errLocked   = errors.New("has a passphrase, which nobody is there to type; remove it (ssh-keygen -p -N '' -f FILE) and protect the file instead")
	errNoKey    = errors.New("holds no private key; want one in the PEM or the OpenSSH form, without a passphrase")
	errWeakKey  = errors.New("is an RSA key of less than 2048 bits; make a new one")
	errOtherKey = errors.New("is a key of a type that is not used any more; make an ed25519 key for SSH, and an RSA key of 2048 bits for OPC UA")
	errNoCert   = errors.New("holds no certificate; want one in the PEM form, our own first")
)

// ParsePrivateKey reads a private key file in the OpenSSH or a PEM form,
// without a passphrase: ed25519, ECDSA, or RSA of 2048 bits or more. Its errors
// show nothing of the file, and read as the rest of a sentence about it.
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	raw, err := ssh.ParseRawPrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, errLocked
	}
	if block, _ := pem.Decode(text); err != nil && block != nil && block.Type == "ENCRYPTED PRIVATE KEY" {
		return nil, errLocked
	}
	if err != nil {
		// What the parser says could show parts of the file.
		return nil, errNoKey
	}
	switch k := raw.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < minBits {
			return nil, errWeakKey
		}
		return k, nil
	case *ecdsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	case *ed25519.PrivateKey:
		return *k, nil
	}
	return nil, errOtherKey
}

// parseCertificate reads the first certificate of a PEM file.
func parseCertificate(text []byte) (*x509.Certificate, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errNoCert
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errNoCert
		}
		return cert, nil
	}
}
