package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
	"edgefleet/integration/terraform/declare"
	"edgefleet/workflows/contract"
)

// deviceResource is edgefleet_device: one device, its file, and its service.
type deviceResource struct{ inResource }

var (
	_ resource.ResourceWithConfigure   = &deviceResource{}
	_ resource.ResourceWithModifyPlan  = &deviceResource{}
	_ resource.ResourceWithImportState = &deviceResource{}
)

func (*deviceResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_device"
}

func (*deviceResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	need := func(doc string, checks ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Required: true, MarkdownDescription: doc, Validators: checks}
	}
	may := func(doc string, checks ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: doc, Validators: checks}
	}
	told := func(doc string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: doc}
	}
	id := need("ID of the device. Another one is another device.", deviceID)
	id.PlanModifiers = []planmodifier.String{stringplanmodifier.RequiresReplace()}
	file := told("The file of the fleet directory that declares it.")
	file.PlanModifiers = []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	facts := map[string]schema.Attribute{}
	for name := range inServiceTypes {
		facts[name] = schema.StringAttribute{Computed: true}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A device: declared in a file of its own, onboarded, and decommissioned when it is destroyed.",
		Attributes: map[string]schema.Attribute{
			"id":      id,
			"site":    need("Where it stands.", name),
			"region":  need("One of the fleet's regions.", name),
			"class":   may("`plc`, `rtu` or `gateway`; the profile's, when it is left out.", oneOf(profile.Classes()...)),
			"profile": need("Its model."),
			"address": need("`host:port`.", hostPort),
			"unit":    schema.Int64Attribute{Optional: true, MarkdownDescription: "Modbus unit, 1 to 247 behind a gateway."},
			"modbus": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "How the gateway at the address is spoken to; the same for all devices behind it.", Attributes: map[string]schema.Attribute{
				"framing":        may("`tcp`, or `rtu` for a device server in transparent mode.", oneOf("tcp", "rtu")),
				"serial_gateway": schema.BoolAttribute{Optional: true, MarkdownDescription: "The devices stand on a serial bus behind the address."},
			}},
			"opcua": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "How the OPC UA server is reached, and what it is known by.", Attributes: map[string]schema.Attribute{
				"policy":          may("Security policy.", oneOf(inventory.Policies()...)),
				"mode":            may("Message security mode.", oneOf(inventory.Modes()...)),
				"thumbprint":      may("Of the server's certificate."),
				"application_uri": may("What the server's certificate has to carry."),
			}},
			"ssh": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "What the host is known by.", Attributes: map[string]schema.Attribute{
				"host_keys": schema.ListAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "Fingerprints, `SHA256:...`."},
			}},
			"credentials": may("Entry of the worker's credentials folder by which it logs in. The secret itself stands there, and never here.", name),
			"network_reset": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "What resets its network path.", Attributes: map[string]schema.Attribute{
				"device": need("The switch or outlet before it. Refer to its resource, so that it is declared first.", deviceID),
				"action": need("The action of that device's profile."),
			}},
			"labels":              schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "Yours, to select by."},
			"plaintext_exception": may("Why unencrypted traffic is accepted here, in words."),
			"file":                file,
			"state":               told("`onboarded`, or what keeps it from that: `declared`, `changed`, `failed`, `onboarding`, `undeclared`, `decommissioned`."),
			"configuration":       told("What the last look at its settings found: `in_sync`, `drifted`, `unreadable`, `under_change`, `no_baseline`, `unchecked`, or `pending` while a changed baseline waits for its rollout."),
			"in_service": schema.SingleNestedAttribute{Computed: true, MarkdownDescription: "What the registry has of it since it was onboarded, and what it said of itself.",
				Attributes: facts},
		},
	}
}

// ModifyPlan refuses what is declared elsewhere, and plans to put right what
// is not as it shall be.
func (r *deviceResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan deviceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || r.session == nil || plan.ID.IsUnknown() {
		return
	}
	plan.File = types.StringValue(declare.Device{ID: plan.ID.ValueString()}.File())
	r.refuseClash(plan.ID.ValueString(), &resp.Diagnostics)
	var state deviceModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	}
	switch {
	case req.State.Raw.IsNull():
		plan.State = types.StringValue(contract.RegistryOnboarded)
	case state.Configuration.ValueString() == contract.DriftDrifted:
		plan.State, plan.Configuration = types.StringValue(contract.RegistryOnboarded), types.StringValue(contract.DriftInSync)
		plan.InService = types.ObjectUnknown(inServiceTypes)
	case !plan.sameDeclaration(&state) || state.State.ValueString() != contract.RegistryOnboarded:
		plan.State, plan.Configuration = types.StringValue(contract.RegistryOnboarded), types.StringUnknown()
		plan.InService = types.ObjectUnknown(inServiceTypes)
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
}

// refuseClash refuses a device that somebody else declares: there is one truth
// of it at a time.
func (r *deviceResource) refuseClash(id string, diags *diag.Diagnostics) {
	places, err := r.site.Dir().Elsewhere(id)
	if err != nil {
		diags.AddError("The fleet directory could not be read", err.Error())
		return
	}
	if len(places) == 0 {
		return
	}
	names := make([]string, len(places))
	for i, p := range places {
		names[i] = p.String()
	}
	diags.AddAttributeError(path.Root("id"), "Declared in two places",
		fmt.Sprintf("%s is declared in %s, and this resource would declare it in %s, too. Take it out of there, and Terraform has it: while it is declared the same it is not touched. Or remove this resource, and leave it to that file.",
			id, strings.Join(names, " and "), declare.Device{ID: id}.File()))
}

func (r *deviceResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan deviceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	declaration, diags := plan.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	r.refuseClash(declaration.ID, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	adopted, err := r.site.Write(ctx, declare.Change{After: declaration})
	if err != nil {
		resp.Diagnostics.AddError(declaration.ID+" was not declared", err.Error())
		return
	}
	if adopted {
		resp.Diagnostics.AddWarning("A declaration was there already", fmt.Sprintf(
			"%s declared %s exactly so before. An apply that was cut short leaves that behind. If another resource or state declares it, remove one of them.", declaration.File(), declaration.ID))
	}
	r.bringUp(ctx, &plan, false, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *deviceResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state deviceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	before, diags := state.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	after, diags := plan.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	r.refuseClash(after.ID, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if _, err := r.site.Write(ctx, declare.Change{Before: before, After: after}); err != nil {
		resp.Diagnostics.AddError(after.ID+" was not changed", err.Error())
		return
	}
	r.bringUp(ctx, &plan, state.Configuration.ValueString() == contract.DriftDrifted, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// bringUp onboards the device that the model declares, once the workers run
// that declaration, and makes the model say what came of it.
func (r *deviceResource) bringUp(ctx context.Context, m *deviceModel, again bool, diags *diag.Diagnostics) {
	defer r.changed()
	id := m.ID.ValueString()
	m.File = types.StringValue(declare.Device{ID: id}.File())
	m.State, m.Configuration = types.StringValue(stateDeclared), types.StringValue(contract.DriftUnchecked)
	m.serve(nil)
	if _, err := r.site.Settle(ctx); err != nil {
		failed(ctx, diags, id+" is declared, and was not onboarded", err, "")
		return
	}
	out := r.site.Onboard(ctx, []contract.DeviceRef{m.ref()}, again)[id]
	m.serve(out.Registered)
	if out.Registered != nil {
		m.State = types.StringValue(out.Registered.State)
	}
	if out.Err != nil {
		if m.State.ValueString() == contract.RegistryOnboarded {
			m.State = types.StringValue(stateChanged)
		}
		failed(ctx, diags, id+" was not onboarded", out.Err, out.Running)
		return
	}
	m.Configuration = types.StringValue(contract.DriftInSync)
	if out.Registered.Baseline == "" {
		m.Configuration = types.StringValue(contract.DriftNoBaseline)
	}
}

// failed tells of a failure. Someone who interrupts Terraform knows that it is
// not done: a warning then, because an error would have the device taken out
// of service and in again at the next apply.
func failed(ctx context.Context, diags *diag.Diagnostics, what string, err error, running string) {
	if errors.Is(ctx.Err(), context.Canceled) {
		text := "Interrupted; apply again to finish it."
		if running != "" {
			text = fmt.Sprintf("Interrupted; %s goes on, and the next plan shows what came of it.", running)
		}
		diags.AddWarning(what, text)
		return
	}
	diags.AddError(what, err.Error())
}

func (r *deviceResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m deviceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	id := m.ID.ValueString()
	fleet, err := r.site.Dir().Load()
	if err != nil {
		resp.Diagnostics.AddWarning("The fleet directory does not load", "So nobody can tell which declarations were changed, and the workers stay with what they run:\n"+err.Error())
	}
	s, err := stands(ctx, r.known(), fleet, id)
	if err != nil {
		resp.Diagnostics.AddError("The state of "+id+" could not be found out", err.Error())
		return
	}
	d, err := r.site.Dir().Device(id)
	var foreign *declare.ForeignError
	switch {
	case err == nil:
		m.take(d)
	case errors.Is(err, declare.ErrAbsent), errors.As(err, &foreign):
		elsewhere, placesErr := r.site.Dir().Elsewhere(id)
		if placesErr != nil {
			resp.Diagnostics.AddError("The fleet directory could not be read", placesErr.Error())
			return
		}
		if len(elsewhere) > 0 {
			resp.Diagnostics.AddWarning("A device is not Terraform's any more", fmt.Sprintf("%s is declared in %s now, and not in %s; Terraform forgets it, and it stays in service.", id, elsewhere[0], m.File.ValueString()))
			resp.State.RemoveResource(ctx)
			return
		}
		// As long as it is in service it is not gone: destroying it is still
		// work to do.
		if s.registered == nil || s.registered.State == contract.RegistryDecommissioned {
			resp.State.RemoveResource(ctx)
			return
		}
		s.state = stateUndeclared
	default:
		resp.Diagnostics.AddError("The declaration of "+id+" could not be read", err.Error())
		return
	}
	s.unreadable(id, &resp.Diagnostics)
	m.File = types.StringValue(declare.Device{ID: id}.File())
	m.State, m.Configuration = types.StringValue(s.state), types.StringValue(s.configuration)
	m.serve(s.registered)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (r *deviceResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m deviceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	defer r.changed()
	id := m.ID.ValueString()
	before, diags := m.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	elsewhere, err := r.site.Dir().Elsewhere(id)
	if err != nil {
		resp.Diagnostics.AddError("The fleet directory could not be read", err.Error())
	}
	if resp.Diagnostics.HasError() {
		return
	}
	if _, err := r.site.Write(ctx, declare.Change{Before: before}); err != nil {
		resp.Diagnostics.AddError(id+" is still declared", err.Error())
		return
	}
	if len(elsewhere) > 0 {
		resp.Diagnostics.AddWarning("A device stays in service", fmt.Sprintf("%s is declared in %s, too; only Terraform's declaration was removed.", id, elsewhere[0]))
		return
	}
	m.State = types.StringValue(stateUndeclared)
	registry, err := r.site.Facts().Registry(ctx)
	if err == nil {
		if known, ok := registry.Devices[id]; !ok || known.State == contract.RegistryDecommissioned {
			return
		}
		_, err = r.site.Settle(ctx)
	}
	if err == nil {
		err = r.decommission(ctx, m.ref())
	}
	if err != nil {
		resp.Diagnostics.AddError(id+" is no longer declared, and still in service", err.Error()+"\nDestroy it again for the rest.")
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	}
}

func (r *deviceResource) decommission(ctx context.Context, ref contract.DeviceRef) error {
	out := r.site.Decommission(ctx, []contract.DeviceRef{ref})[ref.ID]
	if out.Err != nil && out.Running != "" {
		return fmt.Errorf("%w; %s goes on", out.Err, out.Running)
	}
	return out.Err
}

// ImportState takes a device by its ID, when Terraform's file declares it: a
// state that was lost, or another configuration's.
func (r *deviceResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if err := contract.ValidDeviceID(req.ID); err != nil {
		resp.Diagnostics.AddError("Not a device ID", err.Error())
		return
	}
	r.refuseClash(req.ID, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if _, err := r.site.Dir().Device(req.ID); err != nil {
		text := fmt.Sprintf("%s: %v", declare.Device{ID: req.ID}.File(), err)
		if errors.Is(err, declare.ErrAbsent) {
			text = req.ID + " is declared nowhere; declare it with this resource and apply, which leaves a device alone that is in service as it is declared"
		}
		resp.Diagnostics.AddError("There is nothing to import", text)
		return
	}
	resource.ImportStatePassthroughID(ctx, path.Root("id"), req, resp)
}
