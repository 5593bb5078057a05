package cli

import (
	"time"

	"edgefleet/devices/profile/strictyaml"
	"edgefleet/workflows/contract"
)

// maxStrategy bounds a strategy's file, in bytes.
const maxStrategy = 256 << 10

// readStrategy reads a strategy's file. Everything that is wrong is said at
// once, with its line.
func readStrategy(file string) (contract.RolloutStrategy, error) {
	text, err := readBounded(file, maxStrategy)
	if err != nil {
		return contract.RolloutStrategy{}, err
	}
	f := strictyaml.Parse(file, []byte(text))
	root, ok := f.Root("canary", "waves", "sites", "bounds", "rate", "limits", "on_breach", "checks", "deadlines", "windows", "freezes",
		"takes", "approval", "silences", "plan_valid")
	if !ok {
		return contract.RolloutStrategy{}, f.Problems().Err()
	}
	r := strategyReader{f: f}
	r.read(root)
	return r.s, f.Problems().Err()
}

type strategyReader struct {
	f *strictyaml.File
	s contract.RolloutStrategy
}

func (r *strategyReader) read(root strictyaml.Map) {
	s := &r.s
	if m, ok := r.section(root, "canary", "count", "label", "none"); ok {
		r.count(m, "count", 1000, &s.Canary.Count)
		s.Canary.Label = m.Text("label")
		r.flag(m, "none", &s.Canary.None)
	}
	if n, ok := root.Get("waves"); ok {
		s.Waves, _ = n.Texts()
	}
	s.Sites, s.OnBreach = root.Text("sites"), root.Text("on_breach")
	if m, ok := r.section(root, "bounds", "per_site", "per_region", "total"); ok {
		r.count(m, "per_site", contract.MaxAtOnce, &s.Bounds.PerSite)
		r.count(m, "per_region", contract.MaxAtOnce, &s.Bounds.PerRegion)
		r.count(m, "total", contract.MaxAtOnce, &s.Bounds.Total)
	}
	if m, ok := r.section(root, "rate", "per_minute", "growth"); ok {
		r.float(m, "per_minute", &s.Rate)
		r.float(m, "growth", &s.RateGrowth)
	}
	if m, ok := r.section(root, "limits", "wave", "total", "allow_unsafe"); ok {
		r.limit(m, "wave", &s.WaveLimit)
		r.limit(m, "total", &s.TotalLimit)
		r.flag(m, "allow_unsafe", &s.AllowUnsafe)
	}
	if m, ok := r.section(root, "checks", "soak", "passes", "every", "within", "metric", "runbook"); ok {
		r.duration(m, "soak", &s.Checks.Soak)
		r.count(m, "passes", 100, &s.Checks.Passes)
		r.duration(m, "every", &s.Checks.Every)
		r.duration(m, "within", &s.Checks.Within)
		s.Checks.Metric = m.Text("metric")
		if book, ok := r.section(m, "runbook", "path", "function"); ok {
			s.Checks.Runbook = &contract.RunbookRef{
				Path:     book.NeedText("path", "name the runbook of the fleet directory"),
				Function: book.NeedText("function", "name the function that takes the device's ID"),
			}
		}
	}
	if m, ok := r.section(root, "deadlines", "device", "wave", "total"); ok {
		r.duration(m, "device", &s.DeviceDeadline)
		r.duration(m, "wave", &s.WaveDeadline)
		r.duration(m, "total", &s.Deadline)
	}
	r.windows(root)
	r.duration(root, "takes", &s.Takes)
	r.duration(root, "plan_valid", &s.PlanValid)
	if m, ok := r.section(root, "approval", "before", "within"); ok {
		s.Approval.Before = m.Text("before")
		r.duration(m, "within", &s.Approval.Within)
	}
	silences := true
	r.flag(root, "silences", &silences)
	s.NoSilences = !silences
}

func (r *strategyReader) windows(root strictyaml.Map) {
	if n, ok := root.Get("windows"); ok {
		entries, _ := n.List()
		for _, e := range entries {
			m, ok := e.Map("select", "zone", "days", "from", "to")
			if !ok {
				continue
			}
			w := contract.RolloutWindow{Select: m.Text("select"), Zone: m.NeedText("zone", "name the zone, for example zone: Europe/Berlin"),
				From: m.NeedText("from", "give a time of day, for example from: \"22:00\""), To: m.NeedText("to", "give a time of day, for example to: \"05:00\"")}
			if days, ok := m.Get("days"); ok {
				w.Days, _ = days.Texts()
			}
			r.s.Windows = append(r.s.Windows, w)
			r.check(m.Line, contract.RolloutStrategy{Windows: []contract.RolloutWindow{w}})
		}
	}
	n, ok := root.Get("freezes")
	if !ok {
		return
	}
	entries, _ := n.List()
	for _, e := range entries {
		m, ok := e.Map("name", "select", "zone", "from", "to")
		if !ok {
			continue
		}
		f := contract.RolloutFreeze{Name: m.NeedText("name", "name the freeze, for example name: end of year"), Select: m.Text("select"), Zone: m.Text("zone"),
			From: m.NeedText("from", "give a date, for example from: 2026-12-20"), To: m.NeedText("to", "give a date, for example to: 2027-01-06")}
		r.s.Freezes = append(r.s.Freezes, f)
		r.check(m.Line, contract.RolloutStrategy{Freezes: []contract.RolloutFreeze{f}})
	}
}

// check says at which line a window or a freeze is wrong.
func (r *strategyReader) check(line int, s contract.RolloutStrategy) {
	if len(r.f.Problems()) > 0 {
		return
	}
	if err := checkWindows(s); err != nil {
		r.f.Add(line, err.Error(), "correct it")
	}
}

func (r *strategyReader) section(m strictyaml.Map, key string, known ...string) (strictyaml.Map, bool) {
	n, ok := m.Get(key)
	if !ok {
		return strictyaml.Map{}, false
	}
	return n.Map(known...)
}

func (r *strategyReader) count(m strictyaml.Map, key string, most int64, into *int) {
	if n, ok := m.Get(key); ok {
		v, _ := n.Int(1, most)
		*into = int(v)
	}
}

func (r *strategyReader) float(m strictyaml.Map, key string, into *float64) {
	if n, ok := m.Get(key); ok {
		*into, _ = n.Float()
	}
}

func (r *strategyReader) flag(m strictyaml.Map, key string, into *bool) {
	if n, ok := m.Get(key); ok {
		*into, _ = n.Bool()
	}
}

func (r *strategyReader) duration(m strictyaml.Map, key string, into *time.Duration) {
	if n, ok := m.Get(key); ok {
		*into, _ = n.Duration(0, 90*24*time.Hour)
	}
}

func (r *strategyReader) limit(m strictyaml.Map, key string, into *contract.RolloutLimit) {
	l, ok := r.section(m, key, "count", "percent")
	if !ok {
		return
	}
	if n, ok := l.Get("count"); ok {
		v, _ := n.Int(0, 1_000_000)
		count := int(v)
		into.Count = &count
	}
	if n, ok := l.Get("percent"); ok {
		v, _ := n.Float()
		into.Percent = &v
	}
}
