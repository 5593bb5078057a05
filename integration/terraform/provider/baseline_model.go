package provider

import (
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"edgefleet/integration/terraform/declare"
	"edgefleet/workflows/contract"
)

type baselineModel struct {
	Name         types.String `tfsdk:"name"`
	Version      types.String `tfsdk:"version"`
	Profile      types.String `tfsdk:"profile"`
	Select       types.Object `tfsdk:"select"`
	Settings     types.Map    `tfsdk:"settings"`
	Ignore       types.List   `tfsdk:"ignore"`
	Overrides    types.Object `tfsdk:"overrides"`
	BringDevices types.Bool   `tfsdk:"bring_devices"`
	File         types.String `tfsdk:"file"`
	Pending      types.Set    `tfsdk:"pending"`
}

type selectModel struct {
	IDs    types.List `tfsdk:"ids"`
	Site   types.List `tfsdk:"site"`
	Region types.List `tfsdk:"region"`
	Class  types.List `tfsdk:"class"`
	Labels types.Map  `tfsdk:"labels"`
}

type overridesModel struct {
	Sites   types.Map `tfsdk:"sites"`
	Devices types.Map `tfsdk:"devices"`
}

var (
	listType       = types.ListType{ElemType: types.StringType}
	settingsType   = types.MapType{ElemType: types.StringType}
	selectTypes    = map[string]attr.Type{"ids": listType, "site": listType, "region": listType, "class": listType, "labels": types.MapType{ElemType: listType}}
	overridesTypes = map[string]attr.Type{"sites": types.MapType{ElemType: settingsType}, "devices": types.MapType{ElemType: settingsType}}
)

// sameDeclaration tells whether two models have the same file.
func (m *baselineModel) sameDeclaration(other *baselineModel) bool {
	mine := []attr.Value{m.Name, m.Version, m.Profile, m.Select, m.Settings, m.Ignore, m.Overrides}
	theirs := []attr.Value{other.Name, other.Version, other.Profile, other.Select, other.Settings, other.Ignore, other.Overrides}
	return slices.EqualFunc(mine, theirs, func(a, b attr.Value) bool { return a.Equal(b) })
}

// declaration is the file that the model has; every attribute has to be known.
func (m *baselineModel) declaration(ctx context.Context) (b declare.Baseline, diags diag.Diagnostics) {
	b = declare.Baseline{Name: m.Name.ValueString(), Version: m.Version.ValueString(), Profile: m.Profile.ValueString()}
	into := func(v interface {
		IsNull() bool
		ElementsAs(context.Context, any, bool) diag.Diagnostics
	}, target any) {
		if !v.IsNull() {
			diags.Append(v.ElementsAs(ctx, target, false)...)
		}
	}
	into(m.Settings, &b.Settings)
	into(m.Ignore, &b.Ignore)
	if !m.Select.IsNull() {
		var s selectModel
		diags.Append(m.Select.As(ctx, &s, objectAsIs)...)
		b.Select = &declare.Select{}
		into(s.IDs, &b.Select.IDs)
		into(s.Site, &b.Select.Site)
		into(s.Region, &b.Select.Region)
		into(s.Class, &b.Select.Class)
		into(s.Labels, &b.Select.Labels)
	}
	if !m.Overrides.IsNull() {
		var o overridesModel
		diags.Append(m.Overrides.As(ctx, &o, objectAsIs)...)
		b.Overrides = &declare.Overrides{}
		into(o.Sites, &b.Overrides.Sites)
		into(o.Devices, &b.Overrides.Devices)
	}
	return b, diags
}

// take makes the model that of a file. A part of the configuration that says
// nothing is not in the file, and stays as it is.
func (m *baselineModel) take(ctx context.Context, b declare.Baseline) (diags diag.Diagnostics) {
	now, more := m.declaration(ctx)
	diags.Append(more...)
	m.File = types.StringValue(b.File())
	m.Name, m.Version, m.Profile = types.StringValue(b.Name), types.StringValue(b.Version), types.StringValue(b.Profile)
	if len(b.Settings)+len(now.Settings) > 0 {
		m.Settings = settingsValue(b.Settings)
	}
	if len(b.Ignore)+len(now.Ignore) > 0 {
		m.Ignore = listValue(b.Ignore)
	}
	if b.Select != nil || (now.Select != nil && !emptySelect(*now.Select)) {
		m.Select = types.ObjectNull(selectTypes)
		if s := b.Select; s != nil {
			labels := types.MapNull(listType)
			if len(s.Labels) > 0 {
				values := map[string]attr.Value{}
				for k, v := range s.Labels {
					values[k] = listValue(v)
				}
				labels = types.MapValueMust(listType, values)
			}
			m.Select = types.ObjectValueMust(selectTypes, map[string]attr.Value{
				"ids": listValue(s.IDs), "site": listValue(s.Site), "region": listValue(s.Region), "class": listValue(s.Class), "labels": labels})
		}
	}
	if b.Overrides != nil || (now.Overrides != nil && len(now.Overrides.Sites)+len(now.Overrides.Devices) > 0) {
		m.Overrides = types.ObjectNull(overridesTypes)
		if o := b.Overrides; o != nil {
			m.Overrides = types.ObjectValueMust(overridesTypes, map[string]attr.Value{"sites": overrideValue(o.Sites), "devices": overrideValue(o.Devices)})
		}
	}
	return diags
}

func emptySelect(s declare.Select) bool {
	return len(s.IDs)+len(s.Site)+len(s.Region)+len(s.Class)+len(s.Labels) == 0
}

func settingsValue(s declare.Settings) types.Map {
	out := make(map[string]attr.Value, len(s))
	for k, v := range s {
		out[k] = types.StringValue(string(v))
	}
	return types.MapValueMust(types.StringType, out)
}

func overrideValue(o map[string]declare.Settings) types.Map {
	if len(o) == 0 {
		return types.MapNull(settingsType)
	}
	out := make(map[string]attr.Value, len(o))
	for k, v := range o {
		out[k] = settingsValue(v)
	}
	return types.MapValueMust(settingsType, out)
}

func listValue(list []string) types.List {
	if len(list) == 0 {
		return types.ListNull(types.StringType)
	}
	out := make([]attr.Value, len(list))
	for i, s := range list {
		out[i] = types.StringValue(s)
	}
	return types.ListValueMust(types.StringType, out)
}

// ids is the set of the devices' IDs.
func ids(refs []contract.DeviceRef) types.Set {
	out := make([]attr.Value, len(refs))
	for i, r := range refs {
		out[i] = types.StringValue(r.ID)
	}
	return types.SetValueMust(types.StringType, out)
}
