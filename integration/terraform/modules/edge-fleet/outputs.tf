output "fleet" {
  description = "Name of the fleet."
  value       = edgefleet_fleet.this.name
}

output "devices" {
  description = "How each device stands, by ID."
  value = {
    for d in concat(values(edgefleet_device.switch), values(edgefleet_device.device)) :
    d.id => { state = d.state, configuration = d.configuration, in_service = d.in_service }
  }
}

output "not_in_order" {
  description = "IDs of the devices that are not onboarded, or whose configuration has drifted or could not be read."
  value = sort([
    for d in concat(values(edgefleet_device.switch), values(edgefleet_device.device)) :
    d.id if d.state != "onboarded" || contains(["drifted", "unreadable"], d.configuration)
  ])
}
