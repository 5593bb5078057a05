package baseline

import "edgefleet/devices/profile/strictyaml"

// Patterns of names.
const (
	nameText  = `^[a-z0-9][a-z0-9-]{0,62}$`
	modelText = `^[0-9]+(#[0-9]+)?$`
	// valueText is what a template can name behind a dot.
	valueText = `^[A-Za-z_][A-Za-z0-9_]{0,62}$`
)

// The words of an override that are not names of settings.
const (
	valuesKey   = "values"
	settingsKey = "settings"
	curvesKey   = "curves"
	ignoreKey   = "ignore"
)

// Shape says what may stand in the file of a baseline. The reader and the JSON
// Schema are made of it. Which settings there are, and what they take, is said
// by the profile.
func Shape() strictyaml.Shape {
	fields := []strictyaml.Field{
		strictyaml.Need("name", strictyaml.Matching("Names the baseline: lower-case letters, digits and dashes", nameText)),
		strictyaml.Need("version", strictyaml.TextOf("Any text; say another one with each change")),
		strictyaml.Need("profile", strictyaml.TextOf("The profile of the devices that it is for")),
		strictyaml.May("select", SelectShape("Which devices of the profile it is for: all of these have to match, a list is any of; every device, when it is left out")),
	}
	fields = append(fields, partFields()...)
	fields = append(fields,
		strictyaml.May("overrides", strictyaml.MappingOf("What is different at some places; a device's go before its site's",
			strictyaml.May("sites", strictyaml.PairsOf("By site", overrideShape())),
			strictyaml.May("devices", strictyaml.PairsOf("By the ID of a device", overrideShape())))))
	return strictyaml.MappingOf("What devices of a profile shall have", fields...)
}

// SelectShape is how devices of a profile are selected, in baselines and
// wherever else that is said.
func SelectShape(doc string) strictyaml.Shape {
	anyOf := func(doc string) strictyaml.Shape {
		list := strictyaml.ListOf(doc, strictyaml.TextOf(""))
		list.Some = true
		return strictyaml.ChoiceOf(doc, strictyaml.TextOf(doc), list)
	}
	return strictyaml.MappingOf(doc,
		strictyaml.May("labels", strictyaml.PairsOf("By the devices' labels", anyOf("Values of the label"))),
		strictyaml.May("class", anyOf("Classes")),
		strictyaml.May("site", anyOf("Sites")),
		strictyaml.May("region", anyOf("Regions")),
		strictyaml.May("ids", anyOf("IDs of devices")))
}

// partFields are values, settings, curves and what is ignored, which overrides
// have as well.
func partFields() []strictyaml.Field {
	values := strictyaml.PairsOf("What templates name as .settings.NAME", strictyaml.AnythingOf("Any scalars, lists and mappings of these"))
	values.Pattern = valueText
	curves := strictyaml.PairsOf("Curves of SunSpec models, by the model's number", strictyaml.PairsOf("The curve's settings, and its points as rows of numbers",
		strictyaml.ChoiceOf("", strictyaml.ScalarOf("A setting of the curve"), rows())))
	curves.Pattern = modelText
	return []strictyaml.Field{
		strictyaml.May(valuesKey, values),
		strictyaml.May(settingsKey, strictyaml.PairsOf("By the name of the setting, in engineering units", settingShape())),
		strictyaml.May(curvesKey, curves),
		strictyaml.May(ignoreKey, ignoreShape()),
	}
}

func ignoreShape() strictyaml.Shape {
	ignore := strictyaml.ListOf("Settings that others change: neither compared nor written, whatever the baseline has for them above", strictyaml.TextOf("A setting of the profile"))
	ignore.Some, ignore.Unique = true, true
	return ignore
}

func rows() strictyaml.Shape {
	row := strictyaml.ListOf("A row", strictyaml.NumberOf(""))
	row.Some = true
	table := strictyaml.ListOf("Rows of numbers", row)
	table.Some = true
	return table
}

// textShape is how a text can be given beside the text alone.
func textShape() strictyaml.Shape {
	return strictyaml.MappingOf("A text, such as the content of a file",
		strictyaml.May("template", strictyaml.TextOf("The template that it is rendered from, relative to edge-configs: templates/device-config.tmpl")),
		strictyaml.May("content", strictyaml.TextOf("The text as it is")),
	).One("template", "content")
}

func settingShape() strictyaml.Shape {
	return strictyaml.ChoiceOf("", strictyaml.ScalarOf("The value"), textShape(), rows())
}

// overrideShape also has the names of settings themselves, which only the
// profile knows.
func overrideShape() strictyaml.Shape {
	return strictyaml.PairsOf("Names of settings; or values, settings, curves and ignore", strictyaml.AnythingOf(""))
}
