package contract

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// wire are all the structs that travel through Temporal, by name.
func wire() map[string]any {
	out := map[string]any{}
	for _, v := range []any{
		Actor{}, Scope{}, Device{}, Verdict{}, NetworkReport{}, ResetReport{},
		SettingDrift{}, DriftReport{}, ApplyReport{}, HealthReport{}, ActionInput{},
		IncidentReport{}, Alert{}, RunbookRef{}, RemediateInput{}, RemediateResult{},
		Decision{}, Progress{}, Moment{}, BeginInput{}, BeginResult{},
		FinishInput{}, EscalateInput{}, RecordInput{}, OnboardInput{}, OnboardState{}, OnboardProgress{}, OnboardFailure{}, PhaseTime{},
		OnboardDeviceInput{}, OnboardDeviceResult{}, Selection{}, Selected{}, DeviceRef{}, Bounds{}, InspectInput{}, InspectResult{},
		DeviceQuery{}, DeviceStatus{}, DeviceDetail{}, IncidentQuery{}, Incident{},
		IncidentDetail{}, AuditQuery{}, LedgerEntry{}, AuditPage{}, AuditVerifyQuery{},
		AuditVerdict{}, RegistryQuery{}, RegistryPage{}, RegisteredDevice{},
		DecommissionInput{}, DecommissionState{}, DecommissionProgress{}, DecommissionFailure{},
		DecommissionDeviceInput{}, DecommissionDeviceResult{},
		Selection{}, DeviceRef{}, Selected{}, Bounds{}, OnboardInput{}, OnboardState{},
		OnboardProgress{}, OnboardFailure{}, PhaseTime{}, OnboardDeviceInput{}, OnboardDeviceResult{},
		DriftScanInput{}, DriftScanState{}, DriftBatch{}, DriftCounts{}, DriftScanProgress{}, DriftFinding{},
		ScanDriftInput{}, ScanDriftResult{}, EvidenceQuery{}, EvidencePage{}, DeviceEvidence{},
		SelectTerm{}, RolloutStrategy{}, RolloutCanary{}, RolloutLimit{}, RolloutChecks{}, RolloutWindow{}, RolloutFreeze{}, RolloutApproval{},
		PlanRolloutInput{}, BegunPlan{}, PlanBatch{}, PlanBatchInput{}, PlanBatchResult{}, FreezePlanInput{}, PlanProgress{},
		RolloutPlan{}, PlanWave{}, ExcludedCount{}, PlannedDevice{}, PlannedChange{}, RolloutCounts{}, RolloutCommand{}, RolloutDecision{},
		RolloutControl{}, RolloutInput{}, RolloutState{}, BegunRollout{}, RolloutProgress{}, WaveStatus{}, RolloutWaveInput{}, WaveState{},
		WaveProgress{}, RolloutFinding{}, BeginRolloutInput{}, NoteRolloutInput{}, RolloutLeftInput{}, RolloutLeft{}, RolloutRef{},
		RollOutDeviceInput{}, DeviceVerdict{}, SettleDeviceInput{}, CheckRolloutInput{}, CheckRolloutResult{}, CheckMetricInput{},
		MetricVerdict{}, CalendarInput{}, CalendarResult{}, Opening{}, ReadRunbookInput{}, RolloutTallyInput{}, RolloutTally{}, WaveTally{}, TryAgainInput{}, TryAgainResult{}, RollbackInput{}, RollbackState{},
		RollbackProgress{}, RollBackDeviceInput{}, RolloutQuery{}, RolloutSummary{}, RolloutPlanPage{}, RolloutDevicePage{}, RolloutDevice{},
		Trust{}, TriedDevice{}, FingerprintReport{}, PatchQuery{}, PatchPage{}, PatchStatus{}, PatchInput{}, PatchResult{}, LeaseHolder{}, LeaseWait{}, LeaseWaited{}, AwaitLeaseInput{}, AwaitLeaseResult{},
	} {
		filled := reflect.New(reflect.TypeOf(v)).Elem()
		fill(filled, reflect.TypeOf(v).Name())
		out[reflect.TypeOf(v).Name()] = filled.Interface()
	}
	return out
}

// fill sets everything that v has, so that no field can hide behind omitempty.
func fill(v reflect.Value, name string) {
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		return
	case *time.Duration:
		*at = 1500 * time.Millisecond
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.ToLower(name))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(2.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), name)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"key": "value"}))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name)
		}
	default:
		panic(fmt.Sprintf("%s: a %s does not travel", name, v.Kind()))
	}
}

// Histories that are years old hold these names, and programs of two versions
// talk to each other. Fields may be added; then run the test with -update.
func TestTheJSONOfEveryWireStructIsStable(t *testing.T) {
	got, err := json.MarshalIndent(wire(), "", "  ")
	require.NoError(t, err)
	got = append(got, '\n')
	golden := filepath.Join("testdata", "wire.json")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o700))
		require.NoError(t, os.WriteFile(golden, got, 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func TestEveryWireStructReadsBackAndHasNoFieldWithoutAName(t *testing.T) {
	for name, v := range wire() {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		back := reflect.New(reflect.TypeOf(v))
		strict := json.NewDecoder(bytes.NewReader(text))
		strict.DisallowUnknownFields()
		require.NoError(t, strict.Decode(back.Interface()), name)
		require.Equal(t, v, back.Elem().Interface(), name)
		for i := range reflect.TypeOf(v).NumField() {
			f := reflect.TypeOf(v).Field(i)
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			require.True(t, f.Anonymous || tag != "", "%s.%s has no name on the wire", name, f.Name)
			require.Equal(t, strings.ToLower(tag), tag, "%s.%s", name, f.Name)
		}
		// What an older program sends has none of the fields of this one.
		require.NoError(t, json.Unmarshal([]byte(`{"a_field_of_a_newer_program": 1}`), back.Interface()), name)
	}
}

func TestEveryExportedStructOfTheContractIsHeldHere(t *testing.T) {
	declarations := []string{"Action", "Answer", "Episode", "Param"} // they never travel
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var structs []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				if _, ok := spec.Type.(*ast.StructType); ok {
					structs = append(structs, spec.Name.Name)
				}
			}
			return true
		})
	}
	held := append(slices.Collect(maps.Keys(wire())), declarations...)
	for _, name := range structs {
		require.Contains(t, held, name, "add %s to wire(), and run this package's tests with -update", name)
	}
	require.Len(t, structs, len(held))
}

func TestAnActorIsShownByKindAndName(t *testing.T) {
	require.Equal(t, "alert:EdgeDeviceOffline", Actor{Kind: ActorAlert, Name: "EdgeDeviceOffline"}.String())
}
