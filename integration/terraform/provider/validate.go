package provider

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"edgefleet/devices"
	"edgefleet/workflows/contract"
)

var objectAsIs = basetypes.ObjectAsOptions{}

// check makes a validator of texts, and of every text of a list.
func check(what string, valid func(string) error) textCheck { return textCheck{what, valid} }

type textCheck struct {
	what  string
	valid func(string) error
}

// Description says what is wanted.
func (c textCheck) Description(context.Context) string { return "want " + c.what }

// MarkdownDescription says what is wanted.
func (c textCheck) MarkdownDescription(ctx context.Context) string { return c.Description(ctx) }

// ValidateString checks a text that is known.
func (c textCheck) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := c.valid(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Not "+c.what, err.Error())
	}
}

// ValidateList checks every text that is known.
func (c textCheck) ValidateList(_ context.Context, req validator.ListRequest, resp *validator.ListResponse) {
	for i, e := range req.ConfigValue.Elements() {
		text, ok := e.(types.String)
		if !ok || text.IsNull() || text.IsUnknown() {
			continue
		}
		if err := c.valid(text.ValueString()); err != nil {
			resp.Diagnostics.AddAttributeError(req.Path.AtListIndex(i), "Not "+c.what, err.Error())
		}
	}
}

// ValidateMap checks every key.
func (c textCheck) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	for key := range req.ConfigValue.Elements() {
		if err := c.valid(key); err != nil {
			resp.Diagnostics.AddAttributeError(req.Path.AtMapKey(key), "Not "+c.what, err.Error())
		}
	}
}

func oneOf(names ...string) textCheck {
	return check("one of "+strings.Join(names, ", "), func(s string) error {
		if slices.Contains(names, s) {
			return nil
		}
		return fmt.Errorf("%q: use one of %s", s, strings.Join(names, ", "))
	})
}

func validDuration(least time.Duration) func(string) error {
	return func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q: write it as 72h or 30m", s)
		}
		if d < least {
			return fmt.Errorf("%q: want at least %v", s, least)
		}
		return nil
	}
}

var (
	deviceID     = check("a device ID", contract.ValidDeviceID)
	name         = check("a name", devices.ValidID)
	hostPort     = check("an address", validAddress)
	network      = check("a network", validNetwork)
	baselineName = check("a baseline's name", validBaselineName)
)

func validAddress(s string) error {
	_, _, err := devices.SplitAddress(s)
	return err
}

func validNetwork(s string) error {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("%q: write it as 10.0.0.0/8; one address is 10.1.2.3/32", s)
	}
	if p != p.Masked() {
		return fmt.Errorf("%q has bits behind its prefix: write %s", s, p.Masked())
	}
	return nil
}

var baselinePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func validBaselineName(s string) error {
	if !baselinePattern.MatchString(s) {
		return fmt.Errorf("%q: use lower-case letters, digits and dashes, at most 63", s)
	}
	return nil
}
