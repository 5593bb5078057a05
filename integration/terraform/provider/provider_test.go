package provider_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/stretchr/testify/require"

	"edgefleet/integration/terraform/provider"
)

func schemas(t testing.TB) *tfprotov6.GetProviderSchemaResponse {
	t.Helper()
	server, err := providerserver.NewProtocol6WithError(provider.New())()
	require.NoError(t, err)
	out, err := server.GetProviderSchema(context.Background(), &tfprotov6.GetProviderSchemaRequest{})
	require.NoError(t, err)
	require.Empty(t, out.Diagnostics)
	return out
}

func TestEveryAttributeIsInTheReference(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	all := schemas(t)
	check := func(what string, s *tfprotov6.Schema) {
		for _, a := range s.Block.Attributes {
			require.Contains(t, string(text), "`"+a.Name+"`", "%s has the attribute %s", what, a.Name)
			require.NotEmpty(t, a.Description, "%s.%s", what, a.Name)
		}
	}
	check("the provider", all.Provider)
	for name, s := range all.ResourceSchemas {
		require.Contains(t, string(text), "`"+name+"`")
		check(name, s)
	}
	for name, s := range all.DataSourceSchemas {
		require.Contains(t, string(text), "Data `"+name+"`")
		check("data "+name, s)
	}
}

func TestNoSecretGoesIntoAState(t *testing.T) {
	all := schemas(t)
	for name, s := range all.ResourceSchemas {
		for _, a := range s.Block.Attributes {
			require.False(t, a.Sensitive, "%s.%s: what is secret stands in the worker's credentials", name, a.Name)
			for _, word := range []string{"password", "secret", "private", "token"} {
				require.NotContains(t, strings.ToLower(a.Name), word, name)
			}
		}
	}
	for _, a := range all.Provider.Block.Attributes {
		require.Equal(t, a.Name == "api_key", a.Sensitive, a.Name)
	}
}

func TestTheAddressCannotBePublishedByOthers(t *testing.T) {
	require.True(t, strings.HasPrefix(provider.Address, "edgefleet.internal/"))
	text, err := os.ReadFile("../modules/edge-fleet/versions.tf")
	require.NoError(t, err)
	require.Contains(t, string(text), `"`+provider.Address+`"`)
}
