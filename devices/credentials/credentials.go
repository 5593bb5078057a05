package credentials

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"edgefleet/devices"
)

// Folder is a worker's credentials. Its methods are safe for concurrent use. A
// nil Folder is that of a worker without any: every method but Ages says so.
type Folder struct {
	dir string
	now func() time.Time

	mu     sync.Mutex
	parsed map[string]parsed
}

// parsed is what a file holds, remembered by its content, because parsing the
// key of a certificate takes longer than the rest of logging in.
type parsed struct {
	sum   [sha256.Size]byte
	value any
}

// errNoFolder is the error of a worker that has no credentials at all.
var errNoFolder = errors.New("the worker has no credentials; start it with --credentials DIR")

// Open returns the credentials in a folder, which has to exist. What is in it
// is read at each use.
func Open(dir string) (*Folder, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open the credentials: %w", err)
	}
	f := &Folder{dir: abs, now: time.Now, parsed: map[string]parsed{}}
	return f, closed(abs, "make it, with one folder per name that the fleet file has under credentials")
}

// closed wants a folder into which not everybody can put files.
func closed(dir, remedy string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the credentials folder %s %w; %s", dir, errAbsent, remedy)
	case err != nil:
		return fmt.Errorf("open the credentials: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder; %s", dir, remedy)
	case info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 && runtime.GOOS != "windows":
		return fmt.Errorf("the credentials folder %s has the mode %04o, so that others on this machine can exchange what is in it; chmod 0750 it", dir, info.Mode().Perm())
	}
	return nil
}

// entry checks the name of an entry, and that there is one.
func (f *Folder) entry(name string) error {
	if f == nil {
		return errNoFolder
	}
	if err := devices.ValidID(name); err != nil {
		return fmt.Errorf("credentials %w", err)
	}
	return closed(filepath.Join(f.dir, name), "make it, or correct the name in the fleet file")
}

// SSH returns the user and the private key of an entry: ed25519, ECDSA, or RSA
// of 2048 bits or more.
func (f *Folder) SSH(name string) (user string, key crypto.Signer, err error) {
	if err := f.entry(name); err != nil {
		return "", nil, err
	}
	if user, err = f.text(name, Username); err != nil {
		return "", nil, remedied(err, fmt.Sprintf("write the user's name into it, for example: echo edgefleet > %s", f.file(name, Username)))
	}
	if key, err = f.key(name, SSHPrivateKey); err != nil {
		return "", nil, remedied(err, fmt.Sprintf("make one: ssh-keygen -t ed25519 -N '' -f %s, and put its .pub into authorized_keys on the devices", f.file(name, SSHPrivateKey)))
	}
	return user, key, nil
}

// remedied adds a remedy to the error of a file that is not there; other
// errors have theirs.
func remedied(err error, remedy string) error {
	if errors.Is(err, errAbsent) {
		return fmt.Errorf("%w; %s", err, remedy)
	}
	return err
}

// OPCUA is what logs in to OPC UA servers. No way of printing or marshalling
// it shows a secret. What an entry does not have is nil or empty.
type OPCUA struct {
	// ClientCert and ClientKey are our application instance certificate.
	ClientCert *x509.Certificate
	ClientKey  *rsa.PrivateKey
	// User and Password log in by name; UserCert and UserKey by certificate.
	// Without either the session is anonymous.
	User, Password string
	UserCert       *x509.Certificate
	UserKey        *rsa.PrivateKey
}

// String says what there is, and shows no secret.
func (o OPCUA) String() string {
	text := "no application certificate"
	if o.ClientCert != nil {
		text = fmt.Sprintf("application %s", o.ApplicationURI())
	}
	switch {
	case o.UserCert != nil:
		return text + ", a user certificate"
	case o.User != "":
		return text + ", user " + o.User
	}
	return text + ", anonymous"
}

// GoString is String, so that %#v shows no secret either.
func (o OPCUA) GoString() string { return "credentials.OPCUA{" + o.String() + "}" }

// MarshalText is String: JSON and YAML show no secret either.
func (o OPCUA) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// ApplicationURI is the one that our certificate carries, or "" without one.
func (o OPCUA) ApplicationURI() string {
	if o.ClientCert == nil || len(o.ClientCert.URIs) == 0 {
		return ""
	}
	return o.ClientCert.URIs[0].String()
}

// OPCUA returns what an entry has for OPC UA. A certificate needs its key, a
// user its password, and a user is known by one of password and certificate;
// an entry that has none of them is anonymous, and fit for servers without
// security only (CheckDevice).
func (f *Folder) OPCUA(name string) (OPCUA, error) {
	var o OPCUA
	if err := f.entry(name); err != nil {
		return o, err
	}
	var err error
	if f.has(name, TLSCert) || f.has(name, TLSKey) {
		if o.ClientCert, o.ClientKey, err = f.pair(name, TLSCert, TLSKey); err != nil {
			return OPCUA{}, err
		}
		if len(o.ClientCert.URIs) == 0 {
			return OPCUA{}, fmt.Errorf("%s has no application URI among its alternative names, by which OPC UA servers know an application; make an application instance certificate", f.file(name, TLSCert))
		}
	}
	if f.has(name, UserCert) || f.has(name, UserKey) {
		if f.has(name, Password) {
			return OPCUA{}, fmt.Errorf("%s has a %s and a %s; a user logs in by one of them, remove the other", filepath.Join(f.dir, name), Password, UserCert)
		}
		if o.UserCert, o.UserKey, err = f.pair(name, UserCert, UserKey); err != nil {
			return OPCUA{}, err
		}
		return o, nil
	}
	if !f.has(name, Username) && !f.has(name, Password) {
		return o, nil
	}
	if o.User, err = f.text(name, Username); err == nil {
		o.Password, err = f.text(name, Password)
	}
	if err != nil {
		return OPCUA{}, remedied(err, "a user name and a password go together; write both, or remove both")
	}
	return o, nil
}

// pair reads a certificate and its key.
func (f *Folder) pair(name, certKey, keyKey string) (*x509.Certificate, *rsa.PrivateKey, error) {
	const together = "a certificate and its key go together; put both there, or remove both"
	cert, err := f.certificate(name, certKey)
	if err != nil {
		return nil, nil, remedied(err, together)
	}
	signer, err := f.key(name, keyKey)
	if err != nil {
		return nil, nil, remedied(err, together)
	}
	key, ok := signer.(*rsa.PrivateKey)
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("%s is no RSA key, and the policies of OPC UA that are used need one; make a certificate with an RSA key of 2048 bits or more", f.file(name, keyKey))
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, nil, fmt.Errorf("%s is not the key of %s; put the two that were made together there", f.file(name, keyKey), certKey)
	}
	return cert, key, nil
}

// remember returns what parse makes of a file's content, and does it once for
// each content.
func remember[T any](f *Folder, file string, data []byte, parse func([]byte) (T, error)) (T, error) {
	sum := sha256.Sum256(data)
	f.mu.Lock()
	known, ok := f.parsed[file]
	f.mu.Unlock()
	if value, fits := known.value.(T); ok && fits && known.sum == sum {
		return value, nil
	}
	value, err := parse(data)
	if err != nil {
		return value, fmt.Errorf("%s %w", file, err)
	}
	f.mu.Lock()
	f.parsed[file] = parsed{sum: sum, value: value}
	f.mu.Unlock()
	return value, nil
}

func (f *Folder) key(name, key string) (crypto.Signer, error) {
	file := f.file(name, key)
	data, err := read(file, maxPEM)
	if err != nil {
		return nil, err
	}
	return remember(f, file, data, ParsePrivateKey)
}

func (f *Folder) certificate(name, key string) (*x509.Certificate, error) {
	file := f.file(name, key)
	data, err := read(file, maxPEM)
	if err != nil {
		return nil, err
	}
	return remember(f, file, data, parseCertificate)
}
