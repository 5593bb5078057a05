package provider

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"edgefleet/devices/fleetdir"
	"edgefleet/integration/terraform/control"
	"edgefleet/workflows/contract"
)

// deviceData is the data source edgefleet_device: how one device stands.
type deviceData struct{ inData }

// fleetData is the data source edgefleet_fleet: how every device stands.
type fleetData struct{ inData }

var (
	_ datasource.DataSourceWithConfigure = &deviceData{}
	_ datasource.DataSourceWithConfigure = &fleetData{}
)

type deviceDataModel struct {
	ID types.String `tfsdk:"id"`
	deviceStanding
}

type deviceStanding struct {
	State         types.String `tfsdk:"state"`
	Configuration types.String `tfsdk:"configuration"`
	Drifted       types.Int64  `tfsdk:"drifted_settings"`
	EvidenceAt    types.String `tfsdk:"evidence_at"`
	InService     types.Object `tfsdk:"in_service"`
}

var standingTypes = map[string]attr.Type{
	"state": types.StringType, "configuration": types.StringType, "drifted_settings": types.Int64Type, "evidence_at": types.StringType,
	"in_service": types.ObjectType{AttrTypes: inServiceTypes},
}

// standingAttributes are what both data sources tell of a device.
func standingAttributes() map[string]schema.Attribute {
	facts := map[string]schema.Attribute{}
	for name := range inServiceTypes {
		facts[name] = schema.StringAttribute{Computed: true}
	}
	return map[string]schema.Attribute{
		"state":            schema.StringAttribute{Computed: true, MarkdownDescription: "As the resource's, and `declared` for a device that was never onboarded."},
		"configuration":    schema.StringAttribute{Computed: true, MarkdownDescription: "As the resource's."},
		"drifted_settings": schema.Int64Attribute{Computed: true, MarkdownDescription: "Settings that differed when the configuration was last read; null before that."},
		"evidence_at":      schema.StringAttribute{Computed: true, MarkdownDescription: "When that was, in RFC 3339; null before that."},
		"in_service":       schema.SingleNestedAttribute{Computed: true, Attributes: facts, MarkdownDescription: "What the registry has of it, and what it said of itself."},
	}
}

func (*deviceData) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_device"
}

func (*deviceData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := standingAttributes()
	attributes["id"] = schema.StringAttribute{Required: true, Validators: []validator.String{deviceID}, MarkdownDescription: "ID of a device, whoever declares it."}
	resp.Schema = schema.Schema{MarkdownDescription: "How one device stands.", Attributes: attributes}
}

func (d *deviceData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m deviceDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	id := m.ID.ValueString()
	fleet, err := d.site.Dir().Load()
	if err != nil {
		resp.Diagnostics.AddError("The fleet directory does not load", err.Error())
		return
	}
	facts := d.known()
	registry, err := facts.Registry(ctx)
	if err != nil {
		resp.Diagnostics.AddError("The state of "+id+" could not be found out", err.Error())
		return
	}
	if _, declared := fleet.Inventory.Device(id); !declared && registry.Devices[id].DeviceID == "" {
		resp.Diagnostics.AddError("No such device", fmt.Sprintf("The fleet does not declare %s, and the registry does not have it.", id))
		return
	}
	value, why, err := tell(ctx, facts, fleet, id)
	if err != nil {
		resp.Diagnostics.AddError("The state of "+id+" could not be found out", err.Error())
		return
	}
	standing{why: why}.unreadable(id, &resp.Diagnostics)
	resp.Diagnostics.Append(value.As(ctx, &m.deviceStanding, objectAsIs)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// tell says how a device stands, and why nobody could tell its configuration.
func tell(ctx context.Context, facts *control.Facts, fleet *fleetdir.Fleet, id string) (value types.Object, why string, err error) {
	s, err := stands(ctx, facts, fleet, id)
	if err != nil {
		return value, "", err
	}
	drifted, at := types.Int64Null(), types.StringNull()
	if s.registered != nil && s.registered.State == contract.RegistryOnboarded {
		evidence, err := facts.Evidence(ctx)
		if err != nil {
			return value, "", err
		}
		if e, ok := evidence[id]; ok && e.EvidenceAt != nil {
			drifted, at = types.Int64Value(int64(e.Drifted)), types.StringValue(e.EvidenceAt.UTC().Format("2006-01-02T15:04:05Z07:00"))
		}
	}
	service := types.ObjectNull(inServiceTypes)
	if s.registered != nil && s.registered.OnboardedAt != nil {
		service = inService(*s.registered)
	}
	return types.ObjectValueMust(standingTypes, map[string]attr.Value{
		"state": types.StringValue(s.state), "configuration": types.StringValue(s.configuration), "drifted_settings": drifted, "evidence_at": at, "in_service": service,
	}), s.why, nil
}

type fleetDataModel struct {
	Name           types.String `tfsdk:"name"`
	Revision       types.String `tfsdk:"revision"`
	Commit         types.String `tfsdk:"commit"`
	WorkerRevision types.String `tfsdk:"worker_revision"`
	WorkerCommit   types.String `tfsdk:"worker_commit"`
	Devices        types.Map    `tfsdk:"devices"`
	Drifted        types.List   `tfsdk:"drifted"`
}

func (*fleetData) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_fleet"
}

func (*fleetData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	told := func(doc string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: doc}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "How the fleet stands: which revision the workers run, and every device that is declared or in service, whoever declares it.",
		Attributes: map[string]schema.Attribute{
			"name":            told("Name of the fleet."),
			"revision":        told("Revision of the fleet directory."),
			"commit":          told("Commit that the directory was checked out from; null outside a checkout."),
			"worker_revision": told("Revision that the workers run."),
			"worker_commit":   told("Commit that the workers' directory was checked out from; null outside a checkout."),
			"devices": schema.MapNestedAttribute{Computed: true, MarkdownDescription: "How each device stands, by ID.",
				NestedObject: schema.NestedAttributeObject{Attributes: standingAttributes()}},
			"drifted": schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "IDs of the devices that have drifted."},
		},
	}
}

func (d *fleetData) Read(ctx context.Context, _ datasource.ReadRequest, resp *datasource.ReadResponse) {
	fleet, err := d.site.Dir().Load()
	if err != nil {
		resp.Diagnostics.AddError("The fleet directory does not load", err.Error())
		return
	}
	facts := d.known()
	registry, err := facts.Registry(ctx)
	if err != nil {
		resp.Diagnostics.AddError("The state of the fleet could not be found out", err.Error())
		return
	}
	m := fleetDataModel{Name: types.StringValue(fleet.Inventory.Name), Revision: types.StringValue(fleet.Revision()), Commit: optional(fleetdir.Commit(fleet.Dir)),
		WorkerRevision: types.StringValue(registry.Revision), WorkerCommit: optional(registry.Commit)}
	var ids []string
	for id, r := range registry.Devices {
		if r.State != contract.RegistryDecommissioned {
			ids = append(ids, id)
		}
	}
	for _, declared := range fleet.Inventory.Devices {
		ids = append(ids, declared.ID)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	values, drifted := map[string]attr.Value{}, []attr.Value{}
	for _, id := range ids {
		value, why, err := tell(ctx, facts, fleet, id)
		if err != nil {
			resp.Diagnostics.AddError("The state of "+id+" could not be found out", err.Error())
			return
		}
		standing{why: why}.unreadable(id, &resp.Diagnostics)
		values[id] = value
		if value.Attributes()["configuration"].Equal(types.StringValue(contract.DriftDrifted)) {
			drifted = append(drifted, types.StringValue(id))
		}
	}
	m.Devices = types.MapValueMust(types.ObjectType{AttrTypes: standingTypes}, values)
	m.Drifted = types.ListValueMust(types.StringType, drifted)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
