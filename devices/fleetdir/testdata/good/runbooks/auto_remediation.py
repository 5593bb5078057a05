def handle_device_offline(device_id):
    update_incident_status(device_id)
