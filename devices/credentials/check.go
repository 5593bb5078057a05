package credentials

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/inventory"
)

// Problem is what a device lacks to be logged in to.
type Problem struct {
	// Device is its ID, Credentials the name that its declaration has.
	Device, Credentials string
	Err                 error
}

// String returns "gw-1: what, and the remedy".
func (p Problem) String() string { return fmt.Sprintf("%s: %v", p.Device, p.Err) }

// policyNone is the policy of OPC UA servers without security.
const policyNone = "None"

// Check returns what is missing or cannot be used for the declared devices, in
// the order of the list: nothing for those that need no credentials.
func (f *Folder) Check(list []inventory.Device) []Problem {
	type kind struct {
		name         string
		ssh, secured bool
	}
	var problems []Problem
	seen := map[kind]error{}
	for _, d := range list {
		k := kind{name: d.Credentials, ssh: d.SSH != nil, secured: d.OPCUA != nil && d.OPCUA.Policy != policyNone}
		err, known := seen[k]
		if !known {
			err = f.CheckDevice(d)
			seen[k] = err
		}
		if err != nil {
			problems = append(problems, Problem{Device: d.ID, Credentials: d.Credentials, Err: err})
		}
	}
	return problems
}

// CheckDevice says what one device lacks, with the remedy, or nil.
func (f *Folder) CheckDevice(d inventory.Device) error {
	switch {
	case d.SSH != nil && d.Credentials == "":
		return errors.New("the declaration names no credentials; add credentials: NAME")
	case d.SSH != nil:
		_, _, err := f.SSH(d.Credentials)
		return err
	case d.OPCUA == nil:
		return nil
	case d.Credentials == "" && d.OPCUA.Policy == policyNone:
		return nil
	case d.Credentials == "":
		return fmt.Errorf("the declaration names no credentials, and the policy %s needs an application certificate; add credentials: NAME", d.OPCUA.Policy)
	}
	o, err := f.OPCUA(d.Credentials)
	if err == nil && d.OPCUA.Policy != policyNone {
		err = f.valid(d.Credentials, TLSCert, o.ClientCert)
		if o.ClientCert == nil {
			err = fmt.Errorf("%s %w, and the policy %s needs an application certificate; put an application instance certificate (tls.crt) and its RSA key (tls.key) there, and let the server trust it",
				f.file(d.Credentials, TLSCert), errAbsent, d.OPCUA.Policy)
		}
	}
	if err == nil {
		err = f.valid(d.Credentials, UserCert, o.UserCert)
	}
	return err
}

// valid refuses a certificate that servers would refuse by the clock.
func (f *Folder) valid(name, key string, cert *x509.Certificate) error {
	switch {
	case cert == nil:
		return nil
	case f.now().After(cert.NotAfter):
		return fmt.Errorf("%s expired on %s; make a new one, and let the server trust it", f.file(name, key), cert.NotAfter.Format(time.DateOnly))
	case f.now().Before(cert.NotBefore):
		return fmt.Errorf("%s is not valid before %s; set the clock, or make a new one", f.file(name, key), cert.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// Age is how old the credentials of one name are.
type Age struct {
	Name string
	// Since is when the oldest file of the entry was written. Of a secret that
	// Kubernetes mounts, that is when it was last put on this node.
	Since time.Time
}

// Ages returns the entries of the folder that hold any key, in the order of
// their names. A nil Folder has none.
func (f *Folder) Ages() ([]Age, error) {
	if f == nil {
		return nil, nil
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("list the credentials: %w", err)
	}
	var out []Age
	for _, e := range entries {
		age := Age{Name: e.Name()}
		// Kubernetes keeps the versions of what it mounts in "..2026_11_23".
		if devices.ValidID(age.Name) != nil {
			continue
		}
		for _, key := range keys() {
			info, err := os.Stat(f.file(age.Name, key))
			if err == nil && info.Mode().IsRegular() && (age.Since.IsZero() || info.ModTime().Before(age.Since)) {
				age.Since = info.ModTime()
			}
		}
		if !age.Since.IsZero() {
			out = append(out, age)
		}
	}
	slices.SortFunc(out, func(a, b Age) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// NewOPCUA makes a self-signed application instance certificate of the
// application URI ("urn:plant-7:edgefleet:worker") and its key, for two years,
// as an entry of the folder dir. It never replaces one: servers trust it.
func NewOPCUA(dir, name, applicationURI string) error {
	if err := devices.ValidID(name); err != nil {
		return fmt.Errorf("credentials %w", err)
	}
	if err := closed(dir, "make it first"); err != nil {
		return err
	}
	entry := filepath.Join(dir, name)
	for _, key := range []string{TLSCert, TLSKey} {
		if _, err := os.Lstat(filepath.Join(entry, key)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already, and servers may trust it; make the new one under another name, or remove this one first", filepath.Join(entry, key))
		}
	}
	cert, key, err := NewCertificate(CertificateRequest{ApplicationURI: applicationURI})
	if err != nil {
		return err
	}
	if err := os.Mkdir(entry, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the credentials %s: %w", name, err)
	}
	certText, keyText, err := encode(cert, key)
	if err != nil {
		return err
	}
	if err := create(filepath.Join(entry, TLSKey), keyText); err != nil {
		return err
	}
	if err := create(filepath.Join(entry, TLSCert), certText); err != nil {
		// Half an entry would be in the way of the next attempt.
		return errors.Join(err, os.Remove(filepath.Join(entry, TLSKey)))
	}
	return nil
}

// create writes a file that only its owner reads, and that was not there.
func create(file string, data []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make the credentials: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(file))
	}
	return nil
}
