package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"edgefleet/devices/fleetdir"
	"edgefleet/integration/terraform/declare"
	"edgefleet/workflows/contract"
)

// baselineResource is edgefleet_baseline: one file of desired settings.
type baselineResource struct{ inResource }

var (
	_ resource.ResourceWithConfigure   = &baselineResource{}
	_ resource.ResourceWithModifyPlan  = &baselineResource{}
	_ resource.ResourceWithImportState = &baselineResource{}
)

func (*baselineResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_baseline"
}

func (*baselineResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	settings := types.MapType{ElemType: types.StringType}
	list := func(doc string) schema.ListAttribute {
		return schema.ListAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: doc}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The settings that devices shall have. Devices get them when they are onboarded, or by a rollout, which begins with a canary; `bring_devices` brings them to all of them with the apply.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{Required: true, Validators: []validator.String{baselineName}, MarkdownDescription: "Name of the baseline.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()}},
			"version": schema.StringAttribute{Required: true, MarkdownDescription: "Any text; say another one with each change."},
			"profile": schema.StringAttribute{Required: true, MarkdownDescription: "The model that it is for."},
			"select": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "Which devices of the profile it is for; all of these have to match.", Attributes: map[string]schema.Attribute{
				"ids": list("Any of these devices."), "site": list("Any of these sites."), "region": list("Any of these regions."), "class": list("Any of these classes."),
				"labels": schema.MapAttribute{Optional: true, ElementType: types.ListType{ElemType: types.StringType}, MarkdownDescription: "Any of these values, for each label."},
			}},
			"settings": schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "Values in engineering units. Files rendered from templates, and curves, stand in baselines of the fleet directory that no resource owns."},
			"ignore":   list("Settings that others change: neither compared nor written, but for those of overrides."),
			"overrides": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "What differs at a site, or on a device; a device's go before its site's. They have to be declared before: refer to their resources.", Attributes: map[string]schema.Attribute{
				"sites":   schema.MapAttribute{Optional: true, ElementType: settings},
				"devices": schema.MapAttribute{Optional: true, ElementType: settings},
			}},
			"bring_devices": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Write the settings to every device in service that the baseline selects, without a canary, when the apply changes it."},
			"file": schema.StringAttribute{Computed: true, MarkdownDescription: "The file of the fleet directory.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}},
			"pending": schema.SetAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "Devices in service that it selects, and that were onboarded with something else."},
		},
	}
}

// ModifyPlan plans to bring the baseline to the devices that have another, if
// that is what the configuration wants.
func (r *baselineResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan, state baselineModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	if !plan.Name.IsUnknown() {
		plan.File = types.StringValue(declare.Baseline{Name: plan.Name.ValueString()}.File())
	}
	switch {
	case plan.BringDevices.ValueBool():
		plan.Pending = ids(nil)
	case req.State.Raw.IsNull() || !plan.sameDeclaration(&state):
		plan.Pending = types.SetUnknown(types.StringType)
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
}

func (r *baselineResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan baselineModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	after, diags := plan.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	if _, err := r.site.Write(ctx, declare.Change{After: after}); err != nil {
		resp.Diagnostics.AddError("The baseline was not declared", err.Error())
		return
	}
	r.bring(ctx, &plan, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *baselineResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state baselineModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	before, diags := state.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	after, diags := plan.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	if _, err := r.site.Write(ctx, declare.Change{Before: before, After: after}); err != nil {
		resp.Diagnostics.AddError("The baseline was not changed", err.Error())
		return
	}
	r.bring(ctx, &plan, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// bring waits for the workers, and brings the baseline to its devices where
// the configuration wants that.
func (r *baselineResource) bring(ctx context.Context, m *baselineModel, diags *diag.Diagnostics) {
	defer r.changed()
	m.File, m.Pending = types.StringValue(declare.Baseline{Name: m.Name.ValueString()}.File()), ids(nil)
	fleet, err := r.site.Settle(ctx)
	if err != nil {
		failed(ctx, diags, "The baseline is declared, and the workers do not run it yet", err, "")
		return
	}
	registry, err := r.site.Facts().Registry(ctx)
	if err != nil {
		failed(ctx, diags, "Which devices have the baseline could not be found out", err, "")
		return
	}
	waiting := pending(fleet, registry.Devices, m.Name.ValueString())
	if !m.BringDevices.ValueBool() {
		m.Pending = ids(waiting)
		return
	}
	var left []contract.DeviceRef
	for id, out := range r.site.Onboard(ctx, waiting, false) {
		if out.Err == nil {
			continue
		}
		i := slices.IndexFunc(waiting, func(ref contract.DeviceRef) bool { return ref.ID == id })
		left = append(left, waiting[i])
		failed(ctx, diags, id+" did not get the baseline", out.Err, out.Running)
	}
	m.Pending = ids(left)
}

// pending are the devices in service whose baseline it is, and which were
// onboarded with something else.
func pending(fleet *fleetdir.Fleet, registered map[string]contract.RegisteredDevice, baseline string) []contract.DeviceRef {
	var out []contract.DeviceRef
	for _, d := range fleet.Inventory.Devices {
		r, ok := registered[d.ID]
		desired, selected := fleet.Baseline(d)
		if ok && selected && desired.Baseline == baseline && r.OnboardedAt != nil && r.State != contract.RegistryDecommissioned && r.DeclaredHash != fleet.DeclaredHash(d) {
			out = append(out, contract.DeviceRef{ID: d.ID, Site: d.Site, Region: d.Region})
		}
	}
	return out
}

func (r *baselineResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m baselineModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	b, err := r.site.Dir().Baseline(m.Name.ValueString())
	var foreign *declare.ForeignError
	switch {
	case errors.As(err, &foreign):
		resp.Diagnostics.AddWarning("A baseline is not Terraform's any more", err.Error()+"; Terraform forgets it.")
		resp.State.RemoveResource(ctx)
		return
	case errors.Is(err, declare.ErrAbsent):
		resp.State.RemoveResource(ctx)
		return
	case err != nil:
		resp.Diagnostics.AddError("A baseline could not be read", err.Error())
		return
	}
	resp.Diagnostics.Append(m.take(ctx, b)...)
	registry, err := r.known().Registry(ctx)
	if err != nil {
		resp.Diagnostics.AddError("Which devices have the baseline could not be found out", err.Error())
		return
	}
	// A directory that does not load is told of where devices are read.
	if fleet, err := r.site.Dir().Load(); err == nil {
		m.Pending = ids(pending(fleet, registry.Devices, b.Name))
	} else if m.Pending.IsNull() {
		m.Pending = ids(nil)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (r *baselineResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state baselineModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	before, diags := state.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	if _, err := r.site.Write(ctx, declare.Change{Before: before}); err != nil {
		resp.Diagnostics.AddError("The baseline is still declared", err.Error())
		return
	}
	r.changed()
}

// ImportState takes a baseline by its name, when Terraform's file declares it.
func (r *baselineResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if err := validBaselineName(req.ID); err != nil {
		resp.Diagnostics.AddError("Not a baseline's name", err.Error())
		return
	}
	if _, err := r.site.Dir().Baseline(req.ID); err != nil {
		resp.Diagnostics.AddError("There is nothing to import", fmt.Sprintf("%s: %s", declare.Baseline{Name: req.ID}.File(), strings.TrimSpace(err.Error())))
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("bring_devices"), false)...)
	resource.ImportStatePassthroughID(ctx, path.Root("name"), req, resp)
}
