package simfleet

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"edgefleet/devices/credentials"
	"edgefleet/devices/sim/opcuasim"
)

// The folders of credentials that the devices of a mixed fleet take.
const (
	controllerLogin = "plant-ops"
	gatewayLogin    = "gateways"
)

// loginName is the user on all devices.
const loginName = "edgefleet"

// clientURI is the application URI of our own certificate.
const clientURI = "urn:edgefleet:dev"

// keys are what the devices of a mixed fleet prove themselves with, and what
// they take.
type keys struct {
	identity *opcuasim.Identity
	opcua    credentials.OPCUA
	sshUser  string
	sshKey   crypto.Signer
	public   ssh.PublicKey
}

func identityFile(stateFile string) string { return stateFile + ".identity" }

// openKeys reads the keys, and makes those that are not there: one key for all
// servers, and one for all log-ins, because RSA keys take a while.
func openKeys(o Options) (*keys, error) {
	k := &keys{}
	var err error
	if k.identity, err = openIdentity(identityFile(o.StateFile)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.CredentialsDir, 0o700); err != nil {
		return nil, err
	}
	if err := makeControllerLogin(o.CredentialsDir); err != nil {
		return nil, err
	}
	if err := makeGatewayLogin(o.CredentialsDir); err != nil {
		return nil, err
	}
	folder, err := credentials.Open(o.CredentialsDir)
	if err != nil {
		return nil, err
	}
	if k.opcua, err = folder.OPCUA(controllerLogin); err != nil {
		return nil, err
	}
	if k.sshUser, k.sshKey, err = folder.SSH(gatewayLogin); err != nil {
		return nil, err
	}
	k.public, err = ssh.NewPublicKey(k.sshKey.Public())
	return k, err
}

func (k *keys) sshKeys() []ssh.PublicKey { return []ssh.PublicKey{k.public} }

// trusted are the certificates of clients that the servers take.
func (k *keys) trusted() []*x509.Certificate { return []*x509.Certificate{k.opcua.ClientCert} }

func openIdentity(file string) (*opcuasim.Identity, error) {
	text, err := os.ReadFile(file)
	if err == nil {
		identity, err := opcuasim.ParseIdentity(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; remove the file, and the devices get a new certificate", file, err)
		}
		return identity, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	identity, err := opcuasim.NewIdentity()
	if err != nil {
		return nil, err
	}
	if text, err = identity.PEM(); err != nil {
		return nil, err
	}
	return identity, writeSecret(file, text)
}

// makeControllerLogin makes a certificate and a password, where there are none.
func makeControllerLogin(dir string) error {
	entry := filepath.Join(dir, controllerLogin)
	_, err := os.Stat(filepath.Join(entry, credentials.TLSKey))
	if errors.Is(err, fs.ErrNotExist) {
		err = credentials.NewOPCUA(dir, controllerLogin, clientURI)
	}
	if err != nil {
		return err
	}
	if err := makeSecret(filepath.Join(entry, credentials.Username), func() (string, error) { return loginName, nil }); err != nil {
		return err
	}
	return makeSecret(filepath.Join(entry, credentials.Password), func() (string, error) { return rand.Text(), nil })
}

// makeGatewayLogin makes an ed25519 key, where there is none.
func makeGatewayLogin(dir string) error {
	entry := filepath.Join(dir, gatewayLogin)
	if err := os.MkdirAll(entry, 0o700); err != nil {
		return err
	}
	if err := makeSecret(filepath.Join(entry, credentials.Username), func() (string, error) { return loginName, nil }); err != nil {
		return err
	}
	return makeSecret(filepath.Join(entry, credentials.SSHPrivateKey), func() (string, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return "", err
		}
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			return "", err
		}
		return string(pem.EncodeToMemory(block)), nil
	})
}

// makeSecret writes a file that is not there.
func makeSecret(file string, text func() (string, error)) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	content, err := text()
	if err != nil {
		return err
	}
	return writeSecret(file, []byte(content+"\n"))
}

// writeSecret writes a file as a whole that only its owner reads.
func writeSecret(file string, content []byte) error {
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
