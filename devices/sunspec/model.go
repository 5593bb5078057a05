package sunspec

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

//go:embed models/*.yaml
var modelFiles embed.FS

// Use says what a point is for, and so who may write it.
type Use string

// The uses. A setting is what a baseline may set. A control is a command of the
// moment (limits, set points, connects and resets): it differs from any
// baseline by design, is no drift, and is never written here. Everything else
// is only read.
const (
	Measurement Use = ""
	SettingUse  Use = "setting"
	ControlUse  Use = "control"
)

// PointDef is a point of a model.
type PointDef struct {
	Name string `yaml:"name"`
	Type Type   `yaml:"type"`
	// Size is the number of registers; only strings state it in the file.
	Size int `yaml:"size"`
	// SF names the point that holds the power of ten to multiply with.
	SF   string `yaml:"sf"`
	Unit string `yaml:"unit"`
	Use  Use    `yaml:"use"`
	// Symbols names the values of an enum, or the bits of a bitfield.
	Symbols map[string]int64 `yaml:"symbols"`

	offset int // registers from the start of the block
}

// CurveDef says how a model stores its curves, which stand behind its points,
// one after another and all of one size.
type CurveDef struct {
	// Count names the point that holds the number of curves.
	Count string `yaml:"count"`
	// Adopt is "request" where curve 1 is the one in force and another is
	// taken over when Request is written, and "index" where Request says which
	// is in force.
	Adopt string `yaml:"adopt"`
	// Request names the point that takes the number of a curve (AdptCrvReq, or
	// ActCrv, where the file states none), and Result the one that says how
	// that went (AdptCrvRslt; empty where Adopt is "index").
	Request string `yaml:"request"`
	Result  string `yaml:"result"`
	// Before and After stand around the tables of a curve.
	Before []PointDef `yaml:"before"`
	Tables []TableDef `yaml:"tables"`
	After  []PointDef `yaml:"after"`
}

// TableDef is a list of points on a curve.
type TableDef struct {
	// Name is empty for the only table of a curve.
	Name string `yaml:"name"`
	// Rows is a number, or "NPt": the point that holds it.
	Rows string `yaml:"rows"`
	// Counter names the number of rows in use, which stands before the rows;
	// without it, that is ActPt of the curve.
	Counter string     `yaml:"counter"`
	Fields  []PointDef `yaml:"fields"`
}

// Model is the definition of a SunSpec model.
type Model struct {
	// IDs are the models that have this layout.
	IDs  []uint16 `yaml:"ids"`
	Name string   `yaml:"name"`
	// Lengths are those that a device may report; for models with curves they
	// follow from the curves.
	Lengths []int      `yaml:"lengths"`
	Points  []PointDef `yaml:"points"`
	Curves  *CurveDef  `yaml:"curves"`

	size int // registers of the points
}

// point returns the point of that name, or nil.
func (m *Model) point(name string) *PointDef {
	i := slices.IndexFunc(m.Points, func(p PointDef) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &m.Points[i]
}

// Catalog holds the models that this package knows.
type Catalog struct {
	models map[uint16]*Model
}

// NewCatalog reads the embedded models. It fails only when this package is
// broken.
func NewCatalog() (*Catalog, error) {
	c := &Catalog{models: map[uint16]*Model{}}
	return c, fs.WalkDir(modelFiles, "models", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := modelFiles.ReadFile(path)
		if err != nil {
			return err
		}
		if err := c.add(data); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
}

// Model returns the definition of a model.
func (c *Catalog) Model(id uint16) (*Model, bool) {
	m, ok := c.models[id]
	return m, ok
}

// Models returns the IDs of all models, in ascending order.
func (c *Catalog) Models() []uint16 {
	ids := make([]uint16, 0, len(c.models))
	for id := range c.models {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (c *Catalog) add(data []byte) error {
	m := &Model{}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(m); err != nil {
		return err
	}
	if len(m.IDs) == 0 {
		return errors.New("a model without an ID")
	}
	var err error
	if m.size, err = layOut(m.Points, m.Points, 0); err != nil {
		return err
	}
	if m.Curves != nil {
		err = m.Curves.check(m)
	} else if !slices.Contains(m.Lengths, m.size) {
		err = fmt.Errorf("the points take %d registers, and the lengths are %v", m.size, m.Lengths)
	}
	if err != nil {
		return err
	}
	for _, id := range m.IDs {
		if c.models[id] != nil {
			return fmt.Errorf("a second model %d", id)
		}
		c.models[id] = m
	}
	return nil
}

// layOut gives each point its size and offset, from an offset on, and returns
// the one behind them. Scale factors stand in all.
func layOut(points, all []PointDef, offset int) (int, error) {
	for i := range points {
		p := &points[i]
		if n := p.Type.registers(); n > 0 && p.Size == 0 {
			p.Size = n
		} else if n > 0 || p.Type != String || p.Size <= 0 {
			return 0, fmt.Errorf("%s: type %q with size %d", p.Name, p.Type, p.Size)
		}
		if p.SF != "" {
			at := slices.IndexFunc(all, func(q PointDef) bool { return q.Name == p.SF && q.Type == SunSSF })
			if at < 0 || !p.Type.scalable() {
				return 0, fmt.Errorf("%s: a %s with scale factor %q", p.Name, p.Type, p.SF)
			}
		}
		if len(p.Symbols) > 0 && !p.Type.isEnum() && !p.Type.isBits() {
			return 0, fmt.Errorf("%s: symbols on a %s", p.Name, p.Type)
		}
		if p.Use != Measurement && p.Use != SettingUse && p.Use != ControlUse {
			return 0, fmt.Errorf("%s: use %q", p.Name, p.Use)
		}
		p.offset = offset
		offset += p.Size
	}
	return offset, nil
}

func (d *CurveDef) check(m *Model) error {
	need := []string{d.Count}
	if len(d.Tables) > 0 {
		need = append(need, numberOfRows)
	}
	switch d.Adopt {
	case adoptByRequest:
		d.Request, d.Result = cmp.Or(d.Request, "AdptCrvReq"), cmp.Or(d.Result, "AdptCrvRslt")
		need = append(need, d.Request, d.Result)
	case adoptByIndex:
		d.Request = cmp.Or(d.Request, "ActCrv")
		need = append(need, d.Request)
	default:
		return fmt.Errorf("adopt: %q", d.Adopt)
	}
	for _, name := range need {
		if m.point(name) == nil {
			return fmt.Errorf("curves without %s", name)
		}
	}
	// The offsets in a curve depend on the device's number of rows, so those
	// of Before and of the fields count from the start of their block.
	for _, block := range [][]PointDef{d.Before, d.After} {
		if _, err := layOut(block, m.Points, 0); err != nil {
			return err
		}
	}
	for i := range d.Tables {
		if _, err := layOut(d.Tables[i].Fields, m.Points, 0); err != nil {
			return err
		}
		if n, err := strconv.Atoi(d.Tables[i].Rows); d.Tables[i].Rows != numberOfRows && (err != nil || n < 1) {
			return fmt.Errorf("rows: %q", d.Tables[i].Rows)
		}
	}
	if !slices.ContainsFunc(slices.Concat(d.Before, d.After), func(p PointDef) bool { return p.Name == readOnly }) {
		return errors.New("curves without ReadOnly")
	}
	return nil
}
