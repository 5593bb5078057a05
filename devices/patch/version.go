package patch

import (
	"cmp"
	"strconv"
	"strings"
)

// VersionOf is the version in what a device says of itself: its first word that
// begins with a digit, or with a v and a digit, without that v ("edge-agent
// v3.2.1" has "3.2.1"). Where no word does, it is the whole text.
func VersionOf(text string) string {
	for _, word := range strings.Fields(text) {
		bare := strings.TrimLeft(word, "vV")
		if len(word)-len(bare) <= 1 && bare != "" && bare[0] >= '0' && bare[0] <= '9' {
			return strings.TrimRight(bare, ",;:)")
		}
	}
	return strings.TrimSpace(text)
}

// Runs says whether what a device says of itself is the version.
func Runs(says, version string) bool { return VersionOf(says) == VersionOf(version) }

// Compare orders two versions, as VersionOf has them: numbers between dots by
// their value, and a version with something behind a dash before the one
// without, as in Semantic Versioning. What stands behind a plus does not count.
// ok is false when that does not say which is older.
func Compare(a, b string) (order int, ok bool) {
	if a == b {
		return 0, true
	}
	x, xOK := parse(a)
	y, yOK := parse(b)
	if !xOK || !yOK {
		return 0, false
	}
	if c := compareNumbers(x.numbers, y.numbers); c != 0 {
		return c, true
	}
	if c := comparePre(x.pre, y.pre); c != 0 {
		return c, true
	}
	// Equal but for what does not count: neither is older, and they differ.
	return 0, x.build == y.build
}

type version struct {
	numbers    []uint64
	pre, build string
}

func parse(text string) (version, bool) {
	var v version
	text, v.build, _ = strings.Cut(text, "+")
	text, v.pre, _ = strings.Cut(text, "-")
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return v, false
		}
		v.numbers = append(v.numbers, n)
	}
	return v, true
}

// compareNumbers takes numbers that are missing for zeros: 3.2 is 3.2.0.
func compareNumbers(a, b []uint64) int {
	for i := range max(len(a), len(b)) {
		var x, y uint64
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
	}
	return 0
}

func comparePre(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		n, errN := strconv.ParseUint(x[i], 10, 64)
		m, errM := strconv.ParseUint(y[i], 10, 64)
		c := strings.Compare(x[i], y[i])
		switch {
		case errN == nil && errM == nil:
			c = cmp.Compare(n, m)
		case errN == nil:
			c = -1
		case errM == nil:
			c = 1
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}
