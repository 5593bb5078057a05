package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"edgefleet/integration/alertmanager"
	"edgefleet/integration/prometheus"
)

// document is a YAML file of which single values are replaced. Comments and
// everything else stay as we ship them. The first error is kept.
type document struct {
	name string
	node yaml.Node
	err  error
}

func parse(name string, raw []byte) *document {
	d := &document{name: name}
	if err := yaml.Unmarshal(raw, &d.node); err != nil {
		d.err = fmt.Errorf("%s: %w", name, err)
	}
	return d
}

// set replaces the value at a path of keys, such as
// "scrape_configs[job_name=edge-fleet].scrape_interval", which has to be there:
// a value that we don't ship under that name is one that we would miss.
func (d *document) set(at string, value any) {
	if d.err != nil {
		return
	}
	node := d.node.Content[0]
	for _, step := range strings.Split(at, ".") {
		key, filter, filtered := strings.Cut(strings.TrimSuffix(step, "]"), "[")
		node = child(node, key)
		if node != nil && filtered {
			node = element(node, filter)
		}
		if node == nil {
			d.err = fmt.Errorf("%s has no %s: found nothing at %q", d.name, at, step)
			return
		}
	}
	d.replace(node, value)
}

func (d *document) replace(node *yaml.Node, value any) {
	var fresh yaml.Node
	if err := fresh.Encode(value); err != nil {
		d.err = fmt.Errorf("%s: %w", d.name, err)
		return
	}
	fresh.HeadComment, fresh.LineComment, fresh.FootComment = node.HeadComment, node.LineComment, node.FootComment
	*node = fresh
}

// each calls f for every mapping in the document that has the key.
func (d *document) each(key string, f func(mapping, value *yaml.Node)) {
	if d.err == nil {
		walk(&d.node, key, f)
	}
}

func walk(node *yaml.Node, key string, f func(mapping, value *yaml.Node)) {
	if node.Kind == yaml.MappingNode {
		if value := child(node, key); value != nil {
			f(node, value)
		}
	}
	for _, c := range node.Content {
		walk(c, key, f)
	}
}

func child(node *yaml.Node, key string) *yaml.Node {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// element finds the element of a list by its number, or by the value of one of
// its keys: "0", or "job_name=edge-fleet".
func element(list *yaml.Node, filter string) *yaml.Node {
	if list.Kind != yaml.SequenceNode {
		return nil
	}
	key, want, named := strings.Cut(filter, "=")
	for i, candidate := range list.Content {
		if !named && fmt.Sprint(i) == filter {
			return candidate
		}
		if named {
			if value := child(candidate, key); value != nil && value.Value == want {
				return candidate
			}
		}
	}
	return nil
}

func (d *document) bytes() ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(&d.node), encoder.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", d.name, err)
	}
	return out.Bytes(), nil
}

// duration writes a duration as Prometheus reads it.
func duration(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d/time.Millisecond)
}

// renderPrometheus writes the configuration and the rules into the folder and
// returns the configuration's path.
func renderPrometheus(dir string, o PrometheusOptions) (string, error) {
	raw, err := prometheus.Files.ReadFile(prometheus.ConfigFile)
	if err != nil {
		return "", err
	}
	every := duration(o.ScrapeInterval)
	d := parse(prometheus.ConfigFile, raw)
	d.set("global.scrape_interval", every)
	d.set("global.evaluation_interval", every)
	d.set("alerting.alertmanagers[0].static_configs[0].targets", []string{o.AlertmanagerAddr})
	const fleet = "scrape_configs[job_name=edge-fleet]."
	d.set(fleet+"scrape_interval", every)
	d.set(fleet+"scrape_timeout", every)
	d.set(fleet+"http_sd_configs[0].url", "http://"+o.WorkerAddr+"/sd")
	d.set(fleet+"http_sd_configs[0].refresh_interval", every)
	const probe = "scrape_configs[job_name=edge-probe]."
	d.set(probe+"scrape_interval", every)
	d.set(probe+"scrape_timeout", every)
	d.set(probe+"http_sd_configs[0].url", "http://"+o.WorkerAddr+"/sd?exporters=probe")
	d.set(probe+"http_sd_configs[0].refresh_interval", every)
	d.set("scrape_configs[job_name=edgefleet-worker].static_configs[0].targets", []string{o.WorkerAddr})
	d.set("scrape_configs[job_name=edgefleet-alertbridge].static_configs[0].targets", []string{o.BridgeAddr})
	if err := write(dir, prometheus.ConfigFile, d); err != nil {
		return "", err
	}
	for _, name := range prometheus.RuleFiles() {
		raw, err := prometheus.Files.ReadFile(name)
		if err != nil {
			return "", err
		}
		rules := parse(name, raw)
		rules.each("alert", func(rule, alert *yaml.Node) {
			pending := child(rule, "for")
			if pending == nil {
				return
			}
			rules.replace(pending, duration(o.pending(alert.Value)))
		})
		if err := write(dir, name, rules); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, filepath.FromSlash(prometheus.ConfigFile)), nil
}

// renderAlertmanager writes the configuration into the folder and returns its
// path.
func renderAlertmanager(dir string, o AlertmanagerOptions) (string, error) {
	raw, err := alertmanager.Files.ReadFile(alertmanager.ConfigFile)
	if err != nil {
		return "", err
	}
	d := parse(alertmanager.ConfigFile, raw)
	d.set("receivers[name=edgefleet].webhook_configs[0].url", o.BridgeURL)
	if o.MaxAlerts > 0 {
		d.set("receivers[name=edgefleet].webhook_configs[0].max_alerts", o.MaxAlerts)
	}
	for key, value := range map[string]time.Duration{
		"group_wait":      o.GroupWait,
		"group_interval":  o.GroupInterval,
		"repeat_interval": o.RepeatInterval,
	} {
		d.set("route."+key, duration(value))
		d.each(key, func(_, node *yaml.Node) { d.replace(node, duration(value)) })
	}
	if err := write(dir, alertmanager.ConfigFile, d); err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.FromSlash(alertmanager.ConfigFile)), nil
}

func write(dir, name string, d *document) error {
	content, err := d.bytes()
	if err != nil {
		return err
	}
	header := fmt.Sprintf("# Rendered by the dev stack at every start from integration/%s/%s: edit that one.\n", path.Base(dir), name)
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(header), content...), 0o600)
}
