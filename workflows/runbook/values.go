package runbook

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"edgefleet/workflows/contract"
)

// record is an immutable value with named fields: the answer of an action, an
// outcome, an approval, a time.
type record struct {
	kind   string
	fields []string
	values []starlark.Value
	truth  bool
}

var (
	_ starlark.HasAttrs   = (*record)(nil)
	_ starlark.Comparable = (*record)(nil)
)

// newRecord makes a record of fields and values that alternate.
func newRecord(kind string, truth bool, pairs ...any) *record {
	r := &record{kind: kind, truth: truth}
	for i := 0; i < len(pairs); i += 2 {
		r.fields = append(r.fields, pairs[i].(string))
		r.values = append(r.values, pairs[i+1].(starlark.Value))
	}
	return r
}

// String prints the record as a call: outcome(ok=True, value=None).
func (r *record) String() string {
	var b strings.Builder
	b.WriteString(r.kind + "(")
	for i, f := range r.fields {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f + "=" + r.values[i].String())
	}
	b.WriteString(")")
	return b.String()
}

// Type returns the record's kind, which is what type(x) says in a runbook.
func (r *record) Type() string { return r.kind }

// Freeze does nothing: a record and all that it holds is immutable when made,
// save an outcome's value, which stays as mutable as it was.
func (r *record) Freeze() {}

// Truth returns the answer that the record stands for.
func (r *record) Truth() starlark.Bool { return starlark.Bool(r.truth) }

// Hash refuses: a record is not a key.
func (r *record) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable type: %s", r.kind) }

// Attr returns a field, or nil when there is none of that name.
func (r *record) Attr(name string) (starlark.Value, error) {
	for i, f := range r.fields {
		if f == name {
			return r.values[i], nil
		}
	}
	return nil, nil
}

// AttrNames returns the fields in the order of their declaration.
func (r *record) AttrNames() []string { return append([]string(nil), r.fields...) }

// CompareSameType compares field by field; records have no order.
func (r *record) CompareSameType(op syntax.Token, other starlark.Value, depth int) (bool, error) {
	o, same := other.(*record)
	if op != syntax.EQL && op != syntax.NEQ {
		return false, fmt.Errorf("%s %s %s not implemented", r.kind, op, other.Type())
	}
	same = same && len(r.values) == len(o.values)
	for i := 0; same && i < len(r.values); i++ {
		eq, err := starlark.EqualDepth(r.values[i], o.values[i], depth-1)
		if err != nil {
			return false, err
		}
		same = eq && r.fields[i] == o.fields[i]
	}
	return same == (op == syntax.EQL), nil
}

// fromGo turns a report of the contract into values: structs into records
// named kind, with the JSON names as fields, slices into frozen lists.
//
//workflowcheck:ignore
func fromGo(v reflect.Value, kind string) starlark.Value {
	switch v.Kind() {
	case reflect.Bool:
		return starlark.Bool(v.Bool())
	case reflect.String:
		return starlark.String(v.String())
	case reflect.Int, reflect.Int32, reflect.Int64:
		return starlark.MakeInt64(v.Int())
	case reflect.Slice:
		list := make([]starlark.Value, v.Len())
		for i := range list {
			list[i] = fromGo(v.Index(i), "")
		}
		l := starlark.NewList(list)
		l.Freeze()
		return l
	case reflect.Struct:
		if kind == "" {
			kind = snake(v.Type().Name())
		}
		r := &record{kind: kind, truth: true}
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			r.fields = append(r.fields, name)
			r.values = append(r.values, fromGo(v.Field(i), ""))
		}
		return r
	}
	return starlark.String(fmt.Sprint(v.Interface()))
}

// snake turns SettingDrift into setting_drift.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// report is what an action answers with.
type report struct {
	// fresh returns a pointer to an empty report of the contract.
	fresh func() any
	// truth is the field whose truth is the report's; "" is always true.
	truth string
	// sample fills the fields that stand for an answer that is true or false,
	// for the hosts that invent answers.
	sample func(report any, truth bool)
}

// reportOf returns the report of an action, and false for a name that is not
// an action's.
func reportOf(action string) (report, bool) {
	drift := []contract.SettingDrift{{Setting: "example", Want: "1", Got: "0"}}
	switch action {
	case contract.ActionCheckNetwork:
		return report{func() any { return &contract.NetworkReport{} }, "reachable", func(r any, yes bool) {
			r.(*contract.NetworkReport).Reachable = yes
		}}, true
	case contract.ActionTriggerNetworkReset:
		return report{func() any { return &contract.ResetReport{Outcome: "done"} }, "came_back", func(r any, yes bool) {
			r.(*contract.ResetReport).CameBack = yes
		}}, true
	case contract.ActionDetectConfigDrift:
		return report{func() any { return &contract.DriftReport{} }, "drifted", func(r any, yes bool) {
			if yes {
				r.(*contract.DriftReport).Drifted = drift
			}
		}}, true
	case contract.ActionApplyBaselineConfig:
		return report{func() any { return &contract.ApplyReport{} }, "changed", func(r any, yes bool) {
			if yes {
				r.(*contract.ApplyReport).Changed = drift
			}
		}}, true
	case contract.ActionUpdateIncidentStatus:
		return report{func() any { return &contract.IncidentReport{} }, "", func(r any, _ bool) {
			*r.(*contract.IncidentReport) = contract.IncidentReport{Status: "mitigated"}
		}}, true
	case contract.ActionVerifyDevice:
		return report{func() any { return &contract.HealthReport{} }, "healthy", func(r any, yes bool) {
			r.(*contract.HealthReport).Healthy = yes
		}}, true
	}
	return report{}, false
}

// value turns a filled report into what the runbook gets.
func (r report) value(filled any) *record {
	v := reflect.ValueOf(filled).Elem()
	rec := fromGo(v, "").(*record)
	if r.truth != "" {
		answer, _ := rec.Attr(r.truth)
		rec.truth = bool(answer.Truth())
	}
	return rec
}

// answerName is the name that the declaration has for a report that is truth.
func answerName(a contract.Action, truth bool) string {
	for _, answer := range a.Answers {
		if answer.True == truth {
			return answer.Name
		}
	}
	return "done"
}

// textOrNone is s, or None when it is empty.
func textOrNone(s string) starlark.Value {
	if s == "" {
		return starlark.None
	}
	return starlark.String(s)
}

// timeValue is what now() returns, in UTC.
func timeValue(at time.Time) *record {
	at = at.UTC()
	return newRecord("time", true,
		"unix", starlark.MakeInt64(at.Unix()),
		"iso", starlark.String(at.Format(time.RFC3339)),
		"year", starlark.MakeInt(at.Year()), "month", starlark.MakeInt(int(at.Month())), "day", starlark.MakeInt(at.Day()),
		"hour", starlark.MakeInt(at.Hour()), "minute", starlark.MakeInt(at.Minute()), "second", starlark.MakeInt(at.Second()),
		"weekday", starlark.String(strings.ToLower(at.Weekday().String())),
	)
}
