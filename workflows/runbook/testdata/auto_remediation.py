# runbooks/auto_remediation.py
def handle_device_offline(device_id):
    # 1. Check connectivity
    if not check_network(device_id):
        trigger_network_reset(device_id)
    
    # 2. Verify configuration
    if detect_config_drift(device_id):
        apply_baseline_config(device_id)
    
    # 3. Update status
    update_incident_status(device_id)
