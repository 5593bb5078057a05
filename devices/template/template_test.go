package template_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"edgefleet/devices"
	"edgefleet/devices/template"
)

func data() template.Data {
	return template.Data{DeviceID: "gw-1", Site: "substation-7", Region: "us-east-1", Class: "gateway",
		Labels:   map[string]string{"feeder": "F12", "bay": "3"},
		Settings: map[string]any{"rate": int64(20), "tls": true, "ratio": 0.5}}
}

func TestRender(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"names of the device":              {"{{ .device_id }} {{ .site }} {{ .region }} {{ .class }}", "gw-1 substation-7 us-east-1 gateway"},
		"labels and settings keep a type":  {"{{ .labels.feeder }} {{ .settings.rate }} {{ .settings.tls }} {{ .settings.ratio }}", "F12 20 true 0.5"},
		"a loop goes in the order of keys": {"{{ range $k, $v := .labels }}{{ $k }}={{ $v }};{{ end }}", "bay=3;feeder=F12;"},
		"default of what is not there":     {`{{ default "F0" (index .labels "none") }}`, "F0"},
		"default of what is there":         {`{{ index .labels "feeder" | default "F0" }}`, "F12"},
		"a condition on what is not there": {`{{ if index .settings "none" }}a{{ else }}b{{ end }}`, "b"},
		"text functions":                   {`{{ upper .site }} {{ replace "-" "_" .site }} {{ trim " x " }} {{ lower "A" }}`, "SUBSTATION-7 substation_7 x a"},
		"white space can be trimmed":       {"a\n{{- if true }}\nb\n{{- end }}\n", "a\nb\n"},
		"quote is not HTML":                {`{{ quote "a<b & \"c\"" }}`, `"a<b & \"c\""`},
		"a template in the file":           {`{{ define "x" }}[{{ . }}]{{ end }}{{ template "x" .site }}`, "[substation-7]"},
		"no template at all":               {"plain: %s $HOME\n", "plain: %s $HOME\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := template.Render("a.tmpl", c.text, data())
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestRenderRefusesWithTheLine(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a label that is not there":    {"a\nb: {{ .labels.none }}\n", `templates/a.tmpl:2: at <.labels.none>: map has no entry for key "none"; define it, or use default with index`},
		"a name that is not there":     {"{{ .hostname }}", `templates/a.tmpl:1: at <.hostname>: map has no entry for key "hostname"; define it, or use default with index`},
		"a name of Jinja":              {"\n\n{{ device_id }}", `templates/a.tmpl:3: function "device_id" not defined; names begin with a dot: .device_id, .labels.NAME, .settings.NAME`},
		"a tag of Jinja":               {"{{ if }}", "templates/a.tmpl:1: missing value for if"},
		"what does not end":            {"a\n{{ if true }}", "templates/a.tmpl:2: unexpected EOF"},
		"a loop without an end":        {"a\n{{ range 1000000000 }}{{ end }}", "more than 100000 rounds; bound the loop"},
		"a template that calls itself": {`{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}`, "rounds"},
		"an output without an end":     {`{{ range 99999 }}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{{ end }}`, "the result is longer than 1048576 bytes"},
		"a text that grows by replace": {`{{ $x := "aa" }}{{ range 64 }}{{ $x = replace "a" "aa" $x }}{{ end }}`, "a text has 2097152 bytes, at most 1048576 are allowed"},
		"a text that grows by print":   {`{{ $x := "aa" }}{{ range 64 }}{{ $x = print $x $x }}{{ end }}`, "a text has 2097152 bytes, at most 1048576 are allowed"},
		"a text that grows by html":    {`{{ $x := "<" }}{{ range 64 }}{{ $x = html $x $x }}{{ end }}`, "bytes, at most 1048576 are allowed"},
		"a printf of many parts":       {`{{ $f := replace "a" "%[1]s" "` + strings.Repeat("a", 60) + `" }}{{ printf $f .site }}`, "the format of a printf has 300 bytes"},
		"what is no text":              {`{{ "\xff" }}`, "templates/a.tmpl:1: the result is not a text in UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := template.Render("templates/a.tmpl", c.text, data())
			require.ErrorContains(t, err, c.want)
			require.True(t, strings.HasPrefix(err.Error(), "templates/a.tmpl:"), err.Error())
		})
	}
}

func TestAParsedTemplateIsRenderedForManyDevicesAtOnce(t *testing.T) {
	parsed, err := template.Parse("a.tmpl", "{{ range 60000 }}{{ end }}{{ .device_id }}")
	require.NoError(t, err)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for j := range 3 {
				id := fmt.Sprintf("gw-%d-%d", i, j)
				got, err := parsed.Render(template.Data{DeviceID: id})
				assert.NoError(t, err, "each rendering has its own bound")
				assert.Equal(t, id, got)
			}
		})
	}
	group.Wait()
}

func TestWhatIsQuotedIsReadBackByYAML(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := data()
		d.Site = rapid.String().Draw(t, "site")
		text, err := template.Render("a.tmpl", "site: {{ quote .site }}\n", d)
		require.NoError(t, err)
		var back struct{ Site string }
		require.NoError(t, yaml.Unmarshal([]byte(text), &back))
		require.Equal(t, strings.ToValidUTF8(d.Site, "\ufffd"), back.Site)
	})
}

func FuzzRender(f *testing.F) {
	f.Add("{{ .device_id }}")
	f.Add("{{ range $i, $x := .labels }}{{ $i }}{{ else }}{{ end }}")
	f.Add("{{ range 1000000000 }}{{ range 5 }}{{ end }}{{ end }}")
	f.Add(`{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}`)
	f.Fuzz(func(t *testing.T, text string) {
		out, err := template.Render("a.tmpl", text, data())
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "a.tmpl:"), err.Error())
			return
		}
		require.LessOrEqual(t, len(out), devices.MaxHostFile)
		again, err := template.Render("a.tmpl", text, data())
		require.NoError(t, err)
		require.Equal(t, out, again)
	})
}
