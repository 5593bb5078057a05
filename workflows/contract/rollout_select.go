package contract

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Selector narrows devices by what is declared of them, all of its terms
// together. It travels as its text.
type Selector []SelectTerm

// SelectTerm is one condition: the key is one of the values, or none of them.
type SelectTerm struct {
	Key    string   `json:"key"`
	Not    bool     `json:"not,omitempty"`
	Values []string `json:"values"`
}

var (
	selectTerm  = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]{0,62})(!?=)(.*)$`)
	selectValue = regexp.MustCompile(`^[A-Za-z0-9._:/@+-]{1,200}$`)
)

// maxSelector bounds the text of a selector, in bytes.
const maxSelector = 4096

// ParseSelector reads "class=plc,region=us-east-1|us-west-2,site!=substation-7":
// a comma is and, a bar is or. The keys are id, class, site, region and profile;
// any other is the name of a label, and a device without the label has the
// value "". The empty text selects every device.
func ParseSelector(text string) (Selector, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > maxSelector {
		return nil, fmt.Errorf("the selector has %d bytes, want at most %d", len(text), maxSelector)
	}
	var out Selector
	for part := range strings.SplitSeq(text, ",") {
		m := selectTerm.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return nil, fmt.Errorf("%.80q: want key=value or key!=value, as in class=plc,site!=substation-7", part)
		}
		term := SelectTerm{Key: m[1], Not: m[2] == "!="}
		for value := range strings.SplitSeq(m[3], "|") {
			value = strings.TrimSpace(value)
			if !selectValue.MatchString(value) {
				return nil, fmt.Errorf("%.80q: %.80q is not a value; want letters, digits and . _ : / @ + -, with | between several", part, value)
			}
			term.Values = append(term.Values, value)
		}
		out = append(out, term)
	}
	return out, nil
}

// String is the inverse of ParseSelector.
func (s Selector) String() string {
	parts := make([]string, len(s))
	for i, t := range s {
		is := "="
		if t.Not {
			is = "!="
		}
		parts[i] = t.Key + is + strings.Join(t.Values, "|")
	}
	return strings.Join(parts, ",")
}

// Matches says whether a device is selected.
func (s Selector) Matches(d Device) bool {
	for _, t := range s {
		var value string
		switch t.Key {
		case "id":
			value = d.ID
		case "class":
			value = d.Class
		case "site":
			value = d.Site
		case "region":
			value = d.Region
		case "profile":
			value = d.Profile
		default:
			value = d.Labels[t.Key]
		}
		if slices.Contains(t.Values, value) == t.Not {
			return false
		}
	}
	return true
}
