package httpserve

import (
	"fmt"
	"os"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
)

// Protection is what a web configuration file asks of clients, as far as a
// program has to know it: to warn when it is open to everybody, and to refuse
// combinations that cannot work.
type Protection struct {
	TLS         bool
	ClientCerts bool
	BasicAuth   bool
	// RateLimit says that requests over a rate are answered 429.
	RateLimit bool
}

// Inspect reads a web configuration file, which "" names none of: then nothing
// is protected.
func Inspect(file string) (Protection, error) {
	if file == "" {
		return Protection{}, nil
	}
	if err := web.Validate(file); err != nil {
		return Protection{}, fmt.Errorf("--%s %s: %w", FlagWebConfig, file, err)
	}
	raw, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return Protection{}, fmt.Errorf("--%s: %w", FlagWebConfig, err)
	}
	// Only these keys are looked at; the toolkit has judged the rest.
	var c struct {
		TLS struct {
			Cert       string `yaml:"cert"`
			CertFile   string `yaml:"cert_file"`
			ClientAuth string `yaml:"client_auth_type"`
		} `yaml:"tls_server_config"`
		Users     map[string]yaml.Node `yaml:"basic_auth_users"`
		RateLimit struct {
			Interval string `yaml:"interval"`
		} `yaml:"rate_limit"`
	}
	if err := yaml.Unmarshal(raw, &c); err != nil {
		return Protection{}, fmt.Errorf("--%s %s: %w", FlagWebConfig, file, err)
	}
	return Protection{
		TLS:         c.TLS.Cert != "" || c.TLS.CertFile != "",
		ClientCerts: c.TLS.ClientAuth == "RequireAndVerifyClientCert",
		BasicAuth:   len(c.Users) > 0,
		RateLimit:   c.RateLimit.Interval != "" && c.RateLimit.Interval != "0" && c.RateLimit.Interval != "0s",
	}, nil
}
