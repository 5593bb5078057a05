terraform {
  required_version = ">= 1.5"

  required_providers {
    # The host is of the domain for private use: the provider comes from your
    # own mirror, and nobody else can ever publish one under this name.
    edgefleet = {
      source = "edgefleet.internal/edgefleet/edgefleet"
    }
  }
}
