package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"edgefleet/devices/fleetdir"
	"edgefleet/integration/terraform/control"
	"edgefleet/integration/terraform/declare"
	"edgefleet/workflows/contract"
)

// The states of a device beside those of the registry.
const (
	// stateDeclared is of a device of which the registry has nothing.
	stateDeclared = "declared"
	// stateChanged is of a device that is in service with another declaration.
	stateChanged = "changed"
	// stateUndeclared is of a device that is in service, and whose file is gone.
	stateUndeclared = "undeclared"
)

// configurationPending is the configuration of a device whose baseline was
// changed, and has not been brought to it yet: a rollout's business.
const configurationPending = "pending"

type deviceModel struct {
	ID                 types.String `tfsdk:"id"`
	Site               types.String `tfsdk:"site"`
	Region             types.String `tfsdk:"region"`
	Class              types.String `tfsdk:"class"`
	Profile            types.String `tfsdk:"profile"`
	Address            types.String `tfsdk:"address"`
	Unit               types.Int64  `tfsdk:"unit"`
	Modbus             types.Object `tfsdk:"modbus"`
	OPCUA              types.Object `tfsdk:"opcua"`
	SSH                types.Object `tfsdk:"ssh"`
	Credentials        types.String `tfsdk:"credentials"`
	NetworkReset       types.Object `tfsdk:"network_reset"`
	Labels             types.Map    `tfsdk:"labels"`
	PlaintextException types.String `tfsdk:"plaintext_exception"`

	File          types.String `tfsdk:"file"`
	State         types.String `tfsdk:"state"`
	Configuration types.String `tfsdk:"configuration"`
	InService     types.Object `tfsdk:"in_service"`
}

type resetModel struct {
	Device types.String `tfsdk:"device"`
	Action types.String `tfsdk:"action"`
}

type modbusModel struct {
	Framing       types.String `tfsdk:"framing"`
	SerialGateway types.Bool   `tfsdk:"serial_gateway"`
}

type opcuaModel struct {
	Policy         types.String `tfsdk:"policy"`
	Mode           types.String `tfsdk:"mode"`
	Thumbprint     types.String `tfsdk:"thumbprint"`
	ApplicationURI types.String `tfsdk:"application_uri"`
}

type sshModel struct {
	HostKeys types.List `tfsdk:"host_keys"`
}

var (
	modbusTypes = map[string]attr.Type{"framing": types.StringType, "serial_gateway": types.BoolType}
	opcuaTypes  = map[string]attr.Type{"policy": types.StringType, "mode": types.StringType, "thumbprint": types.StringType, "application_uri": types.StringType}
	sshTypes    = map[string]attr.Type{"host_keys": types.ListType{ElemType: types.StringType}}

	resetTypes     = map[string]attr.Type{"device": types.StringType, "action": types.StringType}
	inServiceTypes = map[string]attr.Type{
		"site": types.StringType, "region": types.StringType, "profile": types.StringType,
		"maker": types.StringType, "model": types.StringType, "firmware": types.StringType, "serial": types.StringType,
		"baseline": types.StringType, "baseline_version": types.StringType,
	}
)

// declared are the attributes that the file holds.
func (m *deviceModel) declared() []attr.Value {
	return []attr.Value{m.Site, m.Region, m.Class, m.Profile, m.Address, m.Unit, m.Modbus, m.OPCUA, m.SSH, m.Credentials, m.NetworkReset, m.Labels, m.PlaintextException}
}

// sameDeclaration tells whether two models have the same file.
func (m *deviceModel) sameDeclaration(other *deviceModel) bool {
	return slices.EqualFunc(m.declared(), other.declared(), func(a, b attr.Value) bool { return a.Equal(b) })
}

// declaration is the file that the model has; every attribute has to be known.
func (m *deviceModel) declaration(ctx context.Context) (d declare.Device, diags diag.Diagnostics) {
	d = declare.Device{
		ID: m.ID.ValueString(), Site: m.Site.ValueString(), Region: m.Region.ValueString(), Class: m.Class.ValueString(),
		Profile: m.Profile.ValueString(), Address: m.Address.ValueString(), Unit: m.Unit.ValueInt64Pointer(),
		Credentials: m.Credentials.ValueString(), PlaintextException: declare.Text(m.PlaintextException.ValueString()),
	}
	if !m.Modbus.IsNull() {
		var s modbusModel
		diags.Append(m.Modbus.As(ctx, &s, objectAsIs)...)
		d.Modbus = &declare.Modbus{Framing: s.Framing.ValueString(), SerialGateway: s.SerialGateway.ValueBoolPointer()}
	}
	if !m.OPCUA.IsNull() {
		var s opcuaModel
		diags.Append(m.OPCUA.As(ctx, &s, objectAsIs)...)
		d.OPCUA = &declare.OPCUA{Policy: s.Policy.ValueString(), Mode: s.Mode.ValueString(), Thumbprint: s.Thumbprint.ValueString(), ApplicationURI: s.ApplicationURI.ValueString()}
	}
	if !m.SSH.IsNull() {
		var s sshModel
		diags.Append(m.SSH.As(ctx, &s, objectAsIs)...)
		d.SSH = &declare.SSH{}
		if !s.HostKeys.IsNull() {
			diags.Append(s.HostKeys.ElementsAs(ctx, &d.SSH.HostKeys, false)...)
		}
	}
	if !m.NetworkReset.IsNull() {
		var r resetModel
		diags.Append(m.NetworkReset.As(ctx, &r, objectAsIs)...)
		d.NetworkReset = &declare.Reset{Device: r.Device.ValueString(), Action: r.Action.ValueString()}
	}
	if !m.Labels.IsNull() {
		diags.Append(m.Labels.ElementsAs(ctx, &d.Labels, false)...)
	}
	return d, diags
}

// take makes the model that of a file. What the file leaves out stays as it
// is written in the configuration: "" and null are the same file.
func (m *deviceModel) take(d declare.Device) {
	text := func(into *types.String, s string) {
		if s != "" || into.ValueString() != "" {
			*into = optional(s)
		}
	}
	m.ID = types.StringValue(d.ID)
	text(&m.Site, d.Site)
	text(&m.Region, d.Region)
	text(&m.Class, d.Class)
	text(&m.Profile, d.Profile)
	text(&m.Address, d.Address)
	text(&m.PlaintextException, string(d.PlaintextException))
	text(&m.Credentials, d.Credentials)
	m.takeProtocol(d)
	m.Unit = types.Int64PointerValue(d.Unit)
	m.NetworkReset = types.ObjectNull(resetTypes)
	if d.NetworkReset != nil {
		m.NetworkReset = types.ObjectValueMust(resetTypes, map[string]attr.Value{
			"device": types.StringValue(d.NetworkReset.Device), "action": types.StringValue(d.NetworkReset.Action)})
	}
	if len(d.Labels) > 0 || len(m.Labels.Elements()) > 0 {
		m.Labels = texts(d.Labels)
	} else if m.Labels.IsUnknown() {
		m.Labels = types.MapNull(types.StringType)
	}
}

// takeProtocol takes what only devices of a protocol have. A section without
// a word in it stays null or empty, as it is.
func (m *deviceModel) takeProtocol(d declare.Device) {
	m.Modbus = types.ObjectNull(modbusTypes)
	if s := d.Modbus; s != nil {
		m.Modbus = types.ObjectValueMust(modbusTypes, map[string]attr.Value{"framing": optional(s.Framing), "serial_gateway": types.BoolPointerValue(s.SerialGateway)})
	}
	m.OPCUA = types.ObjectNull(opcuaTypes)
	if s := d.OPCUA; s != nil {
		m.OPCUA = types.ObjectValueMust(opcuaTypes, map[string]attr.Value{"policy": optional(s.Policy), "mode": optional(s.Mode),
			"thumbprint": optional(s.Thumbprint), "application_uri": optional(s.ApplicationURI)})
	}
	m.SSH = types.ObjectNull(sshTypes)
	if s := d.SSH; s != nil {
		m.SSH = types.ObjectValueMust(sshTypes, map[string]attr.Value{"host_keys": listValue(s.HostKeys)})
	}
}

// ref is as much of the device as it takes to schedule work on it.
func (m *deviceModel) ref() contract.DeviceRef {
	return contract.DeviceRef{ID: m.ID.ValueString(), Site: m.Site.ValueString(), Region: m.Region.ValueString()}
}

// serve notes what the registry has of the device.
func (m *deviceModel) serve(r *contract.RegisteredDevice) {
	if r == nil || r.OnboardedAt == nil {
		m.InService = types.ObjectNull(inServiceTypes)
		return
	}
	m.InService = inService(*r)
}

func inService(r contract.RegisteredDevice) basetypes.ObjectValue {
	return types.ObjectValueMust(inServiceTypes, map[string]attr.Value{
		"site": optional(r.Site), "region": optional(r.Region), "profile": optional(r.Profile),
		"maker": optional(r.Maker), "model": optional(r.Model), "firmware": optional(r.Firmware), "serial": optional(r.Serial),
		"baseline": optional(r.Baseline), "baseline_version": optional(r.BaselineVersion),
	})
}

func optional(s string) types.String {
	if s == "" {
		return types.StringNull()
	}
	return types.StringValue(s)
}

func texts(m map[string]declare.Text) types.Map {
	out := make(map[string]attr.Value, len(m))
	for k, v := range m {
		out[k] = types.StringValue(string(v))
	}
	return types.MapValueMust(types.StringType, out)
}

// standing is how a device stands, out of its declaration, the registry and
// the evidence of its configuration.
type standing struct {
	state, configuration string
	registered           *contract.RegisteredDevice
	// why says why nobody could tell the configuration; empty otherwise.
	why string
}

// stands judges one device. The fleet is nil when the directory does not load:
// then nobody can tell whether the declaration was changed.
func stands(ctx context.Context, facts *control.Facts, fleet *fleetdir.Fleet, id string) (standing, error) {
	s := standing{state: stateDeclared, configuration: contract.DriftUnchecked}
	registry, err := facts.Registry(ctx)
	if err != nil {
		return s, err
	}
	r, ok := registry.Devices[id]
	if !ok {
		return s, nil
	}
	s.registered, s.state = &r, r.State
	if r.State == contract.RegistryOnboarding && r.OnboardedAt != nil {
		s.state = stateChanged
	}
	if r.State != contract.RegistryOnboarded {
		return s, nil
	}
	if fleet != nil {
		d, _, err := fleet.Device(id)
		if errors.Is(err, fleetdir.ErrUnknownDevice) {
			s.state = stateUndeclared
			return s, nil
		}
		desired, _ := fleet.Baseline(d)
		if desired.Baseline != r.Baseline || desired.Version != r.BaselineVersion {
			s.configuration = configurationPending
			return s, nil
		}
		if fleet.DeclaredHash(d) != r.DeclaredHash {
			s.state = stateChanged
		}
	}
	evidence, err := facts.Evidence(ctx)
	if err != nil {
		return s, err
	}
	if e, ok := evidence[id]; ok {
		s.configuration = e.Outcome
		if e.Outcome == contract.DriftUnreadable {
			s.why = cmp.Or(e.Detail, "without a reason")
		}
	}
	return s, nil
}

// unreadable warns of a device of which nobody could tell whether it drifted.
func (s standing) unreadable(id string, diags *diag.Diagnostics) {
	if s.why != "" {
		diags.AddWarning("A device could not be compared with its baseline", fmt.Sprintf("Whether %s has drifted could not be found out: %s", id, s.why))
	}
}
