package provider

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
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
)

// fleetResource is edgefleet_fleet: the head of the fleet directory.
type fleetResource struct{ inResource }

var (
	_ resource.ResourceWithConfigure   = &fleetResource{}
	_ resource.ResourceWithImportState = &fleetResource{}
)

type fleetModel struct {
	ID         types.String `tfsdk:"id"`
	Name       types.String `tfsdk:"name"`
	Regions    types.Map    `tfsdk:"regions"`
	Monitoring types.Bool   `tfsdk:"monitoring"`
	Tags       types.Map    `tfsdk:"tags"`
	Security   types.Object `tfsdk:"security"`
}

type regionModel struct {
	Reference types.String `tfsdk:"reference"`
}

type securityModel struct {
	EnableEncryption types.Bool   `tfsdk:"enable_encryption"`
	RotationPeriod   types.String `tfsdk:"rotation_period"`
	AllowedNetworks  types.List   `tfsdk:"allowed_networks"`
	TrustFirstUse    types.Bool   `tfsdk:"trust_first_use"`
}

var (
	regionTypes   = map[string]attr.Type{"reference": types.StringType}
	securityTypes = map[string]attr.Type{"enable_encryption": types.BoolType, "rotation_period": types.StringType,
		"allowed_networks": types.ListType{ElemType: types.StringType}, "trust_first_use": types.BoolType}
)

func (*fleetResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_fleet"
}

func (*fleetResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The fleet: its regions, and the bounds within which devices may be talked to. A fleet directory has one.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, MarkdownDescription: "`" + fleetdir.FleetFile + "`, its file.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}},
			"name": schema.StringAttribute{Required: true, MarkdownDescription: "Name of the fleet."},
			"regions": schema.MapNestedAttribute{Required: true, MarkdownDescription: "Regions by name; each has workers of its own.",
				Validators: []validator.Map{name},
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"reference": schema.StringAttribute{Optional: true, Validators: []validator.String{hostPort},
						MarkdownDescription: "`host:port` near the devices that always takes TCP connections."},
				}}},
			"monitoring": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false), MarkdownDescription: "Whether Prometheus is told of the devices."},
			"tags":       schema.MapAttribute{Optional: true, ElementType: types.StringType, MarkdownDescription: "Yours."},
			"security": schema.SingleNestedAttribute{Required: true, MarkdownDescription: "Bounds of what may be dialled, and how.", Attributes: map[string]schema.Attribute{
				"enable_encryption": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false),
					MarkdownDescription: "A device whose protocol is plain needs a `plaintext_exception`."},
				"rotation_period": schema.StringAttribute{Optional: true, Validators: []validator.String{check("a duration such as 72h", validDuration(time.Minute))},
					MarkdownDescription: "How long credentials are used: `72h`."},
				"allowed_networks": schema.ListAttribute{Required: true, ElementType: types.StringType, Validators: []validator.List{network},
					MarkdownDescription: "Nothing outside is ever dialled."},
				"trust_first_use": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false),
					MarkdownDescription: "Onboarding may pin what a device shows when its declaration has no fingerprint."},
			}},
		},
	}
}

// declaration is the file that the model has; every attribute has to be known.
func (m *fleetModel) declaration(ctx context.Context) (f declare.Fleet, diags diag.Diagnostics) {
	f = declare.Fleet{Name: m.Name.ValueString(), Monitoring: m.Monitoring.ValueBool(), Regions: map[string]declare.Region{}}
	var regions map[string]regionModel
	diags.Append(m.Regions.ElementsAs(ctx, &regions, false)...)
	for name, r := range regions {
		f.Regions[name] = declare.Region{Reference: r.Reference.ValueString()}
	}
	if !m.Tags.IsNull() {
		diags.Append(m.Tags.ElementsAs(ctx, &f.Tags, false)...)
	}
	var s securityModel
	diags.Append(m.Security.As(ctx, &s, objectAsIs)...)
	f.Security = declare.Security{EnableEncryption: s.EnableEncryption.ValueBool(), RotationPeriod: s.RotationPeriod.ValueString(), TrustFirstUse: s.TrustFirstUse.ValueBool()}
	diags.Append(s.AllowedNetworks.ElementsAs(ctx, &f.Security.AllowedNetworks, false)...)
	return f, diags
}

// take makes the model that of a file.
func (m *fleetModel) take(ctx context.Context, f declare.Fleet) (diags diag.Diagnostics) {
	m.ID, m.Name, m.Monitoring = types.StringValue(f.File()), types.StringValue(f.Name), types.BoolValue(f.Monitoring)
	regions := make(map[string]attr.Value, len(f.Regions))
	for name, r := range f.Regions {
		regions[name] = types.ObjectValueMust(regionTypes, map[string]attr.Value{"reference": optional(r.Reference)})
	}
	m.Regions = types.MapValueMust(types.ObjectType{AttrTypes: regionTypes}, regions)
	if len(f.Tags) > 0 || len(m.Tags.Elements()) > 0 {
		m.Tags = texts(f.Tags)
	}
	networks, more := types.ListValueFrom(ctx, types.StringType, f.Security.AllowedNetworks)
	diags.Append(more...)
	m.Security = types.ObjectValueMust(securityTypes, map[string]attr.Value{
		"enable_encryption": types.BoolValue(f.Security.EnableEncryption), "rotation_period": optional(f.Security.RotationPeriod),
		"allowed_networks": networks, "trust_first_use": types.BoolValue(f.Security.TrustFirstUse)})
	return diags
}

func (r *fleetResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan fleetModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	after, diags := plan.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	// Nobody waits for a worker here: none can run before there is a fleet
	// file, and the devices wait for it.
	if _, err := r.site.Write(ctx, declare.Change{After: after}); err != nil {
		resp.Diagnostics.AddError("The fleet was not declared", err.Error())
		return
	}
	r.changed()
	plan.ID = types.StringValue(after.File())
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *fleetResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m fleetModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	f, err := r.site.Dir().Fleet()
	var foreign *declare.ForeignError
	switch {
	case errors.As(err, &foreign):
		resp.Diagnostics.AddWarning("The fleet file is not Terraform's any more", err.Error()+"; Terraform forgets it.")
		resp.State.RemoveResource(ctx)
	case errors.Is(err, declare.ErrAbsent):
		resp.State.RemoveResource(ctx)
	case err != nil:
		resp.Diagnostics.AddError("The fleet file could not be read", err.Error())
	default:
		resp.Diagnostics.Append(m.take(ctx, f)...)
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	}
}

func (r *fleetResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state fleetModel
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
		resp.Diagnostics.AddError("The fleet was not changed", err.Error())
		return
	}
	r.changed()
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	if _, err := r.site.Settle(ctx); err != nil {
		failed(ctx, &resp.Diagnostics, "The fleet is declared, and the workers do not run it yet", err, "")
	}
}

func (r *fleetResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state fleetModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	before, diags := state.declaration(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	if _, err := r.site.Write(ctx, declare.Change{Before: before}); err != nil {
		resp.Diagnostics.AddError("The fleet is still declared", err.Error())
		return
	}
	r.changed()
}

// ImportState takes the fleet file that this owner wrote, whatever the ID.
func (r *fleetResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if _, err := r.site.Dir().Fleet(); err != nil {
		resp.Diagnostics.AddError("There is nothing to import", fleetdir.FleetFile+": "+err.Error())
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("id"), fleetdir.FleetFile)...)
}
