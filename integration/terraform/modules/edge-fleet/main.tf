locals {
  beside = "${path.root}/devices.yaml"
  file   = var.devices_file != null ? var.devices_file : fileexists(local.beside) ? local.beside : null

  # By way of JSON, because the two sides of a condition need one type.
  listed = jsondecode(
    var.devices == null && local.file != null ? jsonencode(yamldecode(file(local.file))) : jsonencode({ devices = [] })
  ).devices

  from_file = {
    for d in local.listed : d.id => {
      site                = d.site
      region              = d.region
      class               = try(d.class, null)
      profile             = d.profile
      address             = d.address
      unit                = try(d.unit, null)
      modbus              = can(d.modbus) ? { framing = try(d.modbus.framing, null), serial_gateway = try(d.modbus.serial_gateway, null) } : null
      opcua               = can(d.opcua) ? { for k in ["policy", "mode", "thumbprint", "application_uri"] : k => lookup(d.opcua, k, null) } : null
      ssh                 = can(d.ssh) ? { host_keys = try(d.ssh.host_keys, null) } : null
      credentials         = try(d.credentials, null)
      network_reset       = try({ device = d.network_reset.device, action = d.network_reset.action }, null)
      labels              = try(d.labels, null)
      plaintext_exception = try(d.plaintext_exception, null)
    }
  }

  # What the template has no word for is the template's default.
  template = var.device_template != null ? var.device_template : {
    address = "%s.internal:502", profile = "feeder-rtu", site = "%s", labels = null, plaintext_exception = null
  }
  # A range has 1024 numbers at most.
  thousands = range(ceil(var.fleet_config.device_count / 1000))
  ids = flatten([
    for t in local.thousands : [
      for i in range(min(1000, var.fleet_config.device_count - t * 1000)) : format("edge-%03d", t * 1000 + i + 1)
    ]
  ])
  generated = {
    for i, id in local.ids : id => {
      site                = replace(local.template.site, "%s", id)
      region              = element(var.fleet_config.regions, i)
      class               = null
      profile             = local.template.profile
      address             = replace(local.template.address, "%s", id)
      unit                = null
      modbus              = null
      opcua               = null
      ssh                 = null
      credentials         = null
      network_reset       = null
      labels              = local.template.labels
      plaintext_exception = local.template.plaintext_exception
    }
  }

  templated   = var.devices == null && local.file == null
  source_name = var.devices != null ? "devices" : local.templated ? "device_template" : local.file
  all = merge(
    { for id, d in coalesce(var.devices, {}) : id => d },
    local.from_file,
    { for id, d in local.generated : id => d if local.templated },
  )

  # Switches and outlets come before the devices whose path they reset, and
  # leave after them.
  switches = toset([for d in values(local.all) : d.network_reset.device if d.network_reset != null])
  resets   = { for id, d in local.all : id => d if contains(local.switches, id) }
  devices  = { for id, d in local.all : id => d if !contains(local.switches, id) }

  strangers = sort([for id, d in local.all : id if !contains(var.fleet_config.regions, d.region)])
}

resource "edgefleet_fleet" "this" {
  name       = var.fleet_config.name
  regions    = { for r in var.fleet_config.regions : r => { reference = lookup(var.fleet_config.references, r, null) } }
  monitoring = var.fleet_config.monitoring
  tags       = var.fleet_config.tags
  security   = var.security_config

  lifecycle {
    precondition {
      condition     = length(local.devices) == var.fleet_config.device_count
      error_message = "fleet_config.device_count is ${var.fleet_config.device_count}, and ${local.source_name} lists ${length(local.devices)} devices (without ${length(local.resets)} switches and outlets). Correct one of them."
    }
    precondition {
      condition     = length(local.strangers) == 0
      error_message = "${local.source_name} has devices in regions that fleet_config.regions does not have: ${join(", ", slice(local.strangers, 0, min(10, length(local.strangers))))}."
    }
    precondition {
      condition     = !local.templated || var.fleet_config.device_count == 0 || !var.security_config.enable_encryption || local.template.plaintext_exception != null
      error_message = "Nothing lists the devices. Put a devices.yaml beside the root module (as a fleet directory's devices/*.yaml), or set devices or devices_file. To have them named edge-001 and so on, set device_template; with enable_encryption, its plaintext_exception has to say why the devices' plain Modbus is accepted."
    }
  }
}

resource "edgefleet_device" "switch" {
  for_each   = local.resets
  depends_on = [edgefleet_fleet.this]

  id                  = each.key
  site                = each.value.site
  region              = each.value.region
  class               = each.value.class
  profile             = each.value.profile
  address             = each.value.address
  unit                = each.value.unit
  modbus              = each.value.modbus
  opcua               = each.value.opcua
  ssh                 = each.value.ssh
  credentials         = each.value.credentials
  labels              = each.value.labels
  plaintext_exception = each.value.plaintext_exception
}

resource "edgefleet_device" "device" {
  for_each   = local.devices
  depends_on = [edgefleet_fleet.this, edgefleet_device.switch]

  id                  = each.key
  site                = each.value.site
  region              = each.value.region
  class               = each.value.class
  profile             = each.value.profile
  address             = each.value.address
  unit                = each.value.unit
  modbus              = each.value.modbus
  opcua               = each.value.opcua
  ssh                 = each.value.ssh
  credentials         = each.value.credentials
  network_reset       = each.value.network_reset
  labels              = each.value.labels
  plaintext_exception = each.value.plaintext_exception
}
