package devices

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// maxRows bounds the text of a table; devices have room for tens of rows.
const maxRows = 1000

var rowNumber = regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

// ParseRows reads a table of numbers from its text: rows are separated by
// blanks, the numbers of a row by slashes, as in "92/44 98/0 102/0 108/-44". All
// rows have as many numbers as the first. No text is a table without rows.
func ParseRows(text string) ([][]float64, error) {
	words := strings.Fields(text)
	if len(words) > maxRows {
		return nil, fmt.Errorf("the table has %d rows, and at most %d are taken", len(words), maxRows)
	}
	var rows [][]float64
	for i, word := range words {
		cells := strings.Split(word, "/")
		if i > 0 && len(cells) != len(rows[0]) {
			return nil, fmt.Errorf("row %d, %.40q, has %d numbers, and row 1 has %d", i+1, word, len(cells), len(rows[0]))
		}
		row := make([]float64, len(cells))
		for j, cell := range cells {
			f, err := strconv.ParseFloat(cell, 64)
			if err != nil || !rowNumber.MatchString(cell) {
				return nil, fmt.Errorf("%.40q in row %d is not a number; write rows as in 92/44 98/0", cell, i+1)
			}
			row[j] = f
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// FormatRows is the inverse of ParseRows: the one text of a table, with each
// number in its shortest form without loss. Numbers have to be finite.
func FormatRows(rows [][]float64) string {
	var b strings.Builder
	for i, row := range rows {
		if i > 0 {
			b.WriteByte(' ')
		}
		for j, f := range row {
			if j > 0 {
				b.WriteByte('/')
			}
			b.WriteString(shortest(f, 64))
		}
	}
	return b.String()
}

// shortest renders a number without loss, and without an exponent where people
// would not write one. There is one zero.
func shortest(f float64, bits int) string {
	switch size := math.Abs(f); {
	case size == 0:
		return "0"
	case size < 1e-4 || size >= 1e15:
		return strconv.FormatFloat(f, 'g', -1, bits)
	}
	return strconv.FormatFloat(f, 'f', -1, bits)
}

// rowsToRaw checks a table that is to stand on a device.
func (p Point) rowsToRaw(v any) (Raw, error) {
	s, ok := v.(string)
	if !ok {
		return Raw{}, fmt.Errorf("%s: %v is not the text of a table, such as 92/44 98/0", p.Name, v)
	}
	rows, err := ParseRows(s)
	if err != nil {
		return Raw{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	if len(rows) > 0 && len(rows[0]) != len(p.Columns) {
		return Raw{}, fmt.Errorf("%s: a row has %d numbers, want %d: %s", p.Name, len(rows[0]), len(p.Columns), strings.Join(p.Columns, "/"))
	}
	return Raw{Text: FormatRows(rows)}, nil
}
