package fleetdir

import (
	"cmp"
	"path"

	"edgefleet/devices/baseline"
)

const (
	// MaxTemplate bounds a template, in bytes.
	MaxTemplate = 1 << 20
	// maxTemplates bounds what is kept of all of them, in bytes.
	maxTemplates = 32 << 20
	// templates is the folder below edge-configs that baselines name files of.
	templates = "templates"
)

// readTemplates reads everything in the folder of templates. One that is not
// named by a baseline, or cannot be read, is no problem.
func (d *directory) readTemplates() {
	d.templates = baseline.Templates{}
	folder := path.Join(ConfigsDir, templates)
	for below, t := range d.texts(folder, MaxTemplate, maxTemplates, "keep templates there, and other files elsewhere") {
		d.templates[path.Join(templates, below)] = baseline.TemplateFile{File: path.Join(folder, below), Text: t.source, Wrong: t.wrong, Remedy: cmp.Or(t.remedy, "make it shorter")}
	}
}
