package provider

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/user"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"go.temporal.io/sdk/contrib/envconfig"

	"edgefleet/integration/terraform/control"
	"edgefleet/integration/terraform/declare"
	"edgefleet/internal/temporalx"
)

// Address is the provider's source address. Its host is of the domain that is
// reserved for private use, so that nobody else can ever publish a program
// under this name: it is installed from a mirror of one's own.
const Address = "edgefleet.internal/edgefleet/edgefleet"

// New returns the provider.
func New() provider.Provider { return &edgefleet{} }

type edgefleet struct{}

// session is what resources and data sources work with.
type session struct {
	site *control.Site

	mu    sync.Mutex
	facts *control.Facts
}

// known returns what is known of the fleet, fetched once between two changes.
func (s *session) known() *control.Facts {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.facts == nil {
		s.facts = s.site.Facts()
	}
	return s.facts
}

// changed has the next reader look anew.
func (s *session) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts = nil
}

type providerModel struct {
	Address    types.String `tfsdk:"address"`
	Namespace  types.String `tfsdk:"namespace"`
	Profile    types.String `tfsdk:"profile"`
	ConfigFile types.String `tfsdk:"config_file"`
	APIKey     types.String `tfsdk:"api_key"`
	TLS        types.Object `tfsdk:"tls"`
	FleetDir   types.String `tfsdk:"fleet_dir"`
	Owner      types.String `tfsdk:"owner"`
	User       types.String `tfsdk:"user"`
	Drift      types.String `tfsdk:"drift"`
	TakeUp     types.String `tfsdk:"take_up_timeout"`
	Publish    types.List   `tfsdk:"publish_command"`
}

type tlsModel struct {
	CAFile     types.String `tfsdk:"ca_file"`
	CertFile   types.String `tfsdk:"cert_file"`
	KeyFile    types.String `tfsdk:"key_file"`
	ServerName types.String `tfsdk:"server_name"`
}

func (*edgefleet) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "edgefleet"
}

func (*edgefleet) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	text := func(doc string, checks ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: doc, Validators: checks}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Declares fleets of edge devices and takes them into service. What Terraform declares stands in the fleet directory that edgefleet's workers follow; everything else goes over Temporal.",
		Attributes: map[string]schema.Attribute{
			"address":     text("`host:port` of Temporal. Else `EDGEFLEET_TEMPORAL_ADDRESS`, `TEMPORAL_ADDRESS`, the profile's, or `127.0.0.1:7233`."),
			"namespace":   text("Namespace in Temporal. Else `EDGEFLEET_TEMPORAL_NAMESPACE`, `TEMPORAL_NAMESPACE`, the profile's, or `default`."),
			"profile":     text("Profile of Temporal's configuration file. Else `TEMPORAL_PROFILE`."),
			"config_file": text("Temporal's configuration file. Else `TEMPORAL_CONFIG_FILE`."),
			"api_key":     schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "API key of Temporal. Better `TEMPORAL_API_KEY`, which no file holds."},
			"tls": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "TLS to Temporal. Else `TEMPORAL_TLS_*`.",
				Attributes: map[string]schema.Attribute{
					"ca_file":     text("File with the certificates that Temporal's is checked against."),
					"cert_file":   text("File with the client's certificate."),
					"key_file":    text("File with the client's key."),
					"server_name": text("Name that Temporal's certificate has to have."),
				}},
			"fleet_dir":       text("The fleet directory that the workers read, or a checkout of it (see `publish_command`). Else `EDGEFLEET_FLEET`."),
			"owner":           text("Whose files Terraform writes: the name in their first line. Give each state that shares a fleet directory its own. Else `EDGEFLEET_TERRAFORM_OWNER`, or `terraform`."),
			"user":            text("Who does it, as workflows and the ledger say. Else `EDGEFLEET_USER`, or the login's name."),
			"drift":           text("How a plan learns of drift: `scan` compares the devices with their baselines now (the default), `report` takes what the last scan found, `off` does not look.", oneOf(string(control.DriftScan), string(control.DriftReport), string(control.DriftOff))),
			"take_up_timeout": text("How long to wait until workers run what was written: `5m` unless stated.", check("a duration such as 5m", validDuration(time.Second))),
			"publish_command": schema.ListAttribute{Optional: true, ElementType: types.StringType,
				MarkdownDescription: "A command, and its arguments, that takes the written files to where workers read them, such as a script that commits and pushes. It runs in the fleet directory after each write, once for all files of a moment, and has to be able to run twice."},
		},
	}
}

func (*edgefleet) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	for name, known := range map[string]bool{"address": !m.Address.IsUnknown(), "fleet_dir": !m.FleetDir.IsUnknown(), "owner": !m.Owner.IsUnknown()} {
		if !known {
			resp.Diagnostics.AddAttributeError(path.Root(name), "Not known yet", name+" comes from something that is not created yet; create that first, with -target")
		}
	}
	if resp.Diagnostics.HasError() {
		return
	}
	o, diags := m.options(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	dial, diags := m.connection(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	dial.Identity = "terraform:" + o.User
	conn, err := control.Connect(ctx, dial)
	if err != nil {
		resp.Diagnostics.AddError("No connection to Temporal", err.Error())
		return
	}
	o.Temporal, o.Explain = conn.Client, conn.Explain
	s := &session{site: control.New(o)}
	resp.ResourceData, resp.DataSourceData = s, s
}

// options are those of the fleet directory and of who works on it.
func (m providerModel) options(ctx context.Context) (o control.Options, diags diag.Diagnostics) {
	root := cmp.Or(m.FleetDir.ValueString(), os.Getenv("EDGEFLEET_FLEET"))
	if root == "" {
		diags.AddAttributeError(path.Root("fleet_dir"), "No fleet directory", "Name the directory that edgefleet's workers read: fleet_dir in the provider's configuration, or EDGEFLEET_FLEET.")
		return o, diags
	}
	dir, err := declare.Open(root, cmp.Or(m.Owner.ValueString(), os.Getenv("EDGEFLEET_TERRAFORM_OWNER"), declare.DefaultOwner))
	if err != nil {
		diags.AddAttributeError(path.Root("fleet_dir"), "No usable fleet directory", err.Error())
		return o, diags
	}
	o.Dir, o.User = dir, cmp.Or(m.User.ValueString(), operatorName())
	o.Drift = control.Drift(m.Drift.ValueString())
	o.TakeUp, _ = time.ParseDuration(m.TakeUp.ValueString()) // validated; empty is the default
	if !m.Publish.IsNull() {
		diags.Append(m.Publish.ElementsAs(ctx, &o.Publish, false)...)
	}
	return o, diags
}

// connection is how Temporal is reached: as every program of edgefleet does,
// with the provider's arguments over the environment.
func (m providerModel) connection(ctx context.Context) (o temporalx.Options, diags diag.Diagnostics) {
	var tls tlsModel
	if !m.TLS.IsNull() {
		diags.Append(m.TLS.As(ctx, &tls, objectAsIs)...)
	}
	set := map[string]types.String{
		"TEMPORAL_PROFILE": m.Profile, "TEMPORAL_CONFIG_FILE": m.ConfigFile, "TEMPORAL_API_KEY": m.APIKey,
		"TEMPORAL_TLS_SERVER_CA_CERT_PATH": tls.CAFile, "TEMPORAL_TLS_CLIENT_CERT_PATH": tls.CertFile,
		"TEMPORAL_TLS_CLIENT_KEY_PATH": tls.KeyFile, "TEMPORAL_TLS_SERVER_NAME": tls.ServerName,
	}
	env := overlay{}
	for name, value := range set {
		if v := value.ValueString(); v != "" {
			env[name] = v
		}
	}
	if !m.TLS.IsNull() {
		env["TEMPORAL_TLS"] = "true"
	}
	return temporalx.Options{
		Address:   cmp.Or(m.Address.ValueString(), os.Getenv("EDGEFLEET_TEMPORAL_ADDRESS")),
		Namespace: cmp.Or(m.Namespace.ValueString(), os.Getenv("EDGEFLEET_TEMPORAL_NAMESPACE")),
		Env:       env,
	}, diags
}

// overlay is the process's environment with some variables set.
type overlay map[string]string

var _ envconfig.EnvLookup = overlay{}

// LookupEnv looks in the overlay first.
func (o overlay) LookupEnv(name string) (string, bool) {
	if v, ok := o[name]; ok {
		return v, true
	}
	return os.LookupEnv(name)
}

// Environ lists the process's variables, and those of the overlay after them.
func (o overlay) Environ() []string {
	out := os.Environ()
	for name, value := range o {
		out = append(out, name+"="+value)
	}
	return out
}

// operatorName is EDGEFLEET_USER, or the name of the login.
func operatorName() string {
	if name := os.Getenv("EDGEFLEET_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}

func (*edgefleet) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return &fleetResource{} },
		func() resource.Resource { return &deviceResource{} },
		func() resource.Resource { return &baselineResource{} },
	}
}

func (*edgefleet) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		func() datasource.DataSource { return &deviceData{} },
		func() datasource.DataSource { return &fleetData{} },
	}
}

// given takes the session that the provider's configuration made; before that
// there is none.
func given(data any, diags *diag.Diagnostics) *session {
	if data == nil {
		return nil
	}
	s, ok := data.(*session)
	if !ok {
		diags.AddError("Wrong provider", fmt.Sprintf("The provider gave %T; this is a bug of the provider.", data))
	}
	return s
}

// inResource and inData are what resources and data sources have of the
// provider: its session, once it is configured.
type (
	inResource struct{ *session }
	inData     struct{ *session }
)

// Configure takes the session.
func (r *inResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.session = given(req.ProviderData, &resp.Diagnostics)
}

// Configure takes the session.
func (d *inData) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.session = given(req.ProviderData, &resp.Diagnostics)
}
