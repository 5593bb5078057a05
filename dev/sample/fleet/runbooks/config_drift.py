# Runs when a device's settings are not those of its baseline: the alert
# EdgeConfigDrift. The device answers, so nothing is reset.

def handle_config_drift(device_id):
    step("confirm the drift on the device")
    drift = detect_config_drift(device_id)
    if not drift:
        update_incident_status(device_id, note="the device is in sync by now; nothing was changed")
        return

    step("write the baseline back")
    for setting in drift.drifted:
        print("%s is %s, want %s" % (setting.setting, setting.got, setting.want))
    apply_baseline_config(device_id)
    update_incident_status(device_id, note="%d settings restored" % len(drift.drifted))
