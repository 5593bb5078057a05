# modules/edge_device/main.tf
module "edge_fleet" {
  source = "./modules/edge-fleet"
  
  fleet_config = {
    device_count = 1000
    regions      = ["us-east-1", "us-west-2"]
    monitoring   = true
    tags = {
      environment = "production"
      type       = "plc-gateway"
    }
  }

  security_config = {
    enable_encryption = true
    rotation_period  = "72h"
    allowed_networks = ["10.0.0.0/8"]
  }
}
