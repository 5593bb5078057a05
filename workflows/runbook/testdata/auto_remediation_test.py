load("auto_remediation.py", "handle_device_offline")

def test_reachable_and_in_sync():
    answer("check_network", True)
    answer("detect_config_drift", False)
    run(handle_device_offline, "edge-001")
    expect_calls(["check_network", "detect_config_drift", "update_incident_status"])

def test_reachable_but_drifted():
    answer("check_network", True)
    answer("detect_config_drift", True, drifted=[{"setting": "VRef", "want": "230", "got": "231", "unit": "V"}])
    answer("apply_baseline_config", True)
    run(handle_device_offline, "edge-001")
    expect_calls(["check_network", "detect_config_drift", "apply_baseline_config", "update_incident_status"])

def test_unreachable_and_in_sync():
    answer("check_network", False, diagnosis="no route")
    answer("trigger_network_reset", True)
    answer("detect_config_drift", False)
    run(handle_device_offline, "edge-001")
    expect_calls(["check_network", "trigger_network_reset", "detect_config_drift", "update_incident_status"])

def test_unreachable_and_drifted():
    answer("check_network", False)
    answer("trigger_network_reset", False)
    answer("detect_config_drift", True)
    answer("apply_baseline_config", True)
    run(handle_device_offline, "edge-001")
    expect_calls([
        "check_network",
        "trigger_network_reset",
        "detect_config_drift",
        "apply_baseline_config",
        "update_incident_status()",
    ])

def test_drift_that_cannot_be_read_ends_the_run():
    answer("check_network", True)
    answer_error("detect_config_drift", "unreachable", "no answer within 2s")
    out = run_error(handle_device_offline, "edge-001")
    expect(out.kind == "unreachable")
    expect("no answer within 2s" in out.error)
    expect_calls(["check_network", "detect_config_drift"])
