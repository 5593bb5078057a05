package devices

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestATableHasOneText(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"92/44 98/0 102/0 108/-44":      "92/44 98/0 102/0 108/-44",
		" 92.0/4.40e1\n98/-0 ":          "92/44 98/0",
		"1":                             "1",
		"0.16/1e-7 1234567890123456/+1": "0.16/1e-07 1.234567890123456e+15/1",
	} {
		rows, err := ParseRows(text)
		require.NoError(t, err)
		require.Equal(t, want, FormatRows(rows))
	}
}

func TestATableSurvivesTheWayThroughItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 4).Draw(t, "columns")
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.Float64(), columns, columns), 1, 8).Draw(t, "rows")
		back, err := ParseRows(FormatRows(rows))
		require.NoError(t, err)
		require.Equal(t, FormatRows(rows), FormatRows(back))
		for i, row := range rows {
			for j, f := range row {
				require.True(t, f == back[i][j], "%v is %v", f, back[i][j])
			}
		}
	})
}

func TestTextsThatAreNoTable(t *testing.T) {
	for text, want := range map[string]string{
		"92/44 98":        `row 2, "98", has 1 numbers, and row 1 has 2`,
		"92/a":            `"a" in row 1 is not a number; write rows as in 92/44 98/0`,
		"92//1":           `"" in row 1 is not a number; write rows as in 92/44 98/0`,
		"1 nan":           `"nan" in row 2 is not a number; write rows as in 92/44 98/0`,
		"inf":             `"inf" in row 1 is not a number; write rows as in 92/44 98/0`,
		"1e999":           `"1e999" in row 1 is not a number; write rows as in 92/44 98/0`,
		"0x10":            `"0x10" in row 1 is not a number; write rows as in 92/44 98/0`,
		"[92, 44]":        `"[92," in row 1 is not a number; write rows as in 92/44 98/0`,
		manyRows(t, 1001): "the table has 1001 rows, and at most 1000 are taken",
	} {
		_, err := ParseRows(text)
		require.EqualError(t, err, want)
	}
}

func manyRows(t *testing.T, n int) string {
	t.Helper()
	rows := make([][]float64, n)
	for i := range rows {
		rows[i] = []float64{float64(i)}
	}
	return FormatRows(rows)
}

func TestAPointThatIsATableTakesItsTextOnly(t *testing.T) {
	p := Point{Name: "705.curve.points", Type: String, SunSpec: "705.curve.points", Columns: []string{"V", "Var"}}
	v, err := p.Canonical("92.0/44  98/0")
	require.NoError(t, err)
	require.Equal(t, "92/44 98/0", v)
	back, err := p.ParseExact(p.Exact(v))
	require.NoError(t, err)
	require.Equal(t, v, back)
	v, err = p.Canonical("")
	require.NoError(t, err)
	require.Equal(t, "", v, "a table can be empty")
	_, err = p.Canonical("92/44/1")
	require.EqualError(t, err, "705.curve.points: a row has 3 numbers, want 2: V/Var")
	_, err = p.Canonical(5)
	require.EqualError(t, err, "705.curve.points: 5 is not the text of a table, such as 92/44 98/0")
}

func FuzzParseRows(f *testing.F) {
	for _, s := range []string{"92/44 98/0", "", "1e3/-.5", "a/b", "1//2", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := ParseRows(text)
		if err != nil {
			return
		}
		once := FormatRows(rows)
		again, err := ParseRows(once)
		if err != nil || FormatRows(again) != once {
			t.Fatalf("%q became %q and that %v, %v", text, once, again, err)
		}
	})
}
