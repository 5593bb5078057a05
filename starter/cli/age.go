package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// maxAgeDays keeps an age within what a duration can hold.
const maxAgeDays = 36500

// parseAge reads a positive age: whole days as "35d", or a duration as "12h".
func parseAge(text string) (time.Duration, error) {
	const want = "%.40q: want days as 35d, or a duration as 12h"
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > maxAgeDays {
			return 0, fmt.Errorf(want, text)
		}
		return time.Duration(n) * day, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf(want, text)
	}
	return d, nil
}

// ageText is an age as a person reads it, never longer than it is.
func ageText(d time.Duration) string {
	switch d = max(d, 0); {
	case d >= 2*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
