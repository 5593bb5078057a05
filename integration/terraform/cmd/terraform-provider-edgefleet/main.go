// Command terraform-provider-edgefleet is the Terraform provider of edgefleet.
// Terraform starts it; integration/terraform/README.md says how to install it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"edgefleet/integration/terraform/provider"
)

func main() {
	debug := flag.Bool("debug", false, "wait for a debugger, and print what Terraform needs to attach")
	flag.Parse()
	if err := providerserver.Serve(context.Background(), provider.New, providerserver.ServeOpts{Address: provider.Address, Debug: *debug}); err != nil {
		fmt.Fprintln(os.Stderr, "terraform-provider-edgefleet:", err)
		os.Exit(1)
	}
}
