variable "fleet_config" {
  description = "The fleet. device_count counts devices without the switches and outlets that only reset the network path of others. references gives a region a host:port near its devices that always takes TCP connections."
  type = object({
    device_count = number
    regions      = list(string)
    monitoring   = optional(bool, true)
    tags         = optional(map(string), {})
    name         = optional(string, "edge-fleet")
    references   = optional(map(string), {})
  })

  validation {
    condition     = var.fleet_config.device_count >= 0 && floor(var.fleet_config.device_count) == var.fleet_config.device_count
    error_message = "device_count has to be a whole number of devices."
  }
  validation {
    condition     = length(var.fleet_config.regions) > 0 && length(distinct(var.fleet_config.regions)) == length(var.fleet_config.regions)
    error_message = "regions has to name at least one region, and each once."
  }
  validation {
    condition     = alltrue([for r in var.fleet_config.regions : can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", r))])
    error_message = "A region's name has 1 to 63 letters, digits, '.', '-' or '_', beginning with a letter or digit: it becomes part of a task queue's name."
  }
  validation {
    condition     = length(setsubtract(keys(var.fleet_config.references), var.fleet_config.regions)) == 0
    error_message = "references names a region that regions does not have."
  }
}

variable "security_config" {
  description = "The bounds within which devices may be talked to."
  type = object({
    enable_encryption = bool
    rotation_period   = string
    allowed_networks  = list(string)
    trust_first_use   = optional(bool, false)
  })

  validation {
    condition     = can(regex("^([0-9]+(\\.[0-9]+)?(h|m|s))+$", var.security_config.rotation_period))
    error_message = "rotation_period has to be a duration such as 72h or 30m."
  }
  validation {
    condition     = length(var.security_config.allowed_networks) > 0
    error_message = "allowed_networks is empty, so no device could be dialled."
  }
  validation {
    # cidrhost(n, 0) is the network itself: what differs from it has bits behind
    # its prefix, and is a mistyped address more often than a network.
    condition = alltrue([
      for n in var.security_config.allowed_networks :
      can(cidrhost(n, 0)) && (can(regex(":", n)) || try(cidrhost(n, 0), "") == split("/", n)[0])
    ])
    error_message = "allowed_networks has to list networks as 10.0.0.0/8, without bits behind the prefix."
  }
}

variable "devices" {
  description = "The devices by ID. Without it, devices_file counts."
  type = map(object({
    site                = string
    region              = string
    class               = optional(string)
    profile             = string
    address             = string
    unit                = optional(number)
    modbus              = optional(object({ framing = optional(string), serial_gateway = optional(bool) }))
    opcua               = optional(object({ policy = optional(string), mode = optional(string), thumbprint = optional(string), application_uri = optional(string) }))
    ssh                 = optional(object({ host_keys = optional(list(string)) }))
    credentials         = optional(string)
    network_reset       = optional(object({ device = string, action = string }))
    labels              = optional(map(string))
    plaintext_exception = optional(string)
  }))
  default = null
}

variable "devices_file" {
  description = "A file that lists the devices as a fleet directory's devices/*.yaml does. Without it, devices.yaml beside the root module counts, if it is there."
  type        = string
  default     = null
}

variable "device_template" {
  description = "How devices are named and reached that nobody lists: edge-001, edge-002 and so on, spread over the regions in turn, each at an address of which %s is its ID. Counts when there is neither devices nor a file."
  type = object({
    address             = optional(string, "%s.internal:502")
    profile             = optional(string, "feeder-rtu")
    site                = optional(string, "%s")
    labels              = optional(map(string))
    plaintext_exception = optional(string)
  })
  default = null
}
