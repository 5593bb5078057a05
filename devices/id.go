package devices

import (
	"fmt"
	"regexp"
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// ValidID returns an error that says what an ID has to look like when id does
// not: 1 to 63 letters, digits, dots, dashes and underscores, beginning with a
// letter or digit. Devices, sites and regions are named so: the names become
// part of workflow IDs and of task queues. It is the rule that the workflows'
// contract has for device IDs.
func ValidID(id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("%.80q: want 1 to 63 letters, digits, '.', '-' or '_', beginning with a letter or digit", id)
	}
	return nil
}
