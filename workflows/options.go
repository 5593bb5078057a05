package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// leaseOptions make the retry policy the queue for a device that another
// workflow holds: no history grows while it waits.
func leaseOptions(wait time.Duration, deviceID string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout:    15 * time.Second,
		ScheduleToCloseTimeout: wait,
		// A cancelled workflow must know whether it got the lease.
		WaitForCancellation: true,
		Summary:             "take lease, open incident, " + deviceID,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:        200 * time.Millisecond,
			BackoffCoefficient:     1.5,
			MaximumInterval:        10 * time.Second,
			NonRetryableErrorTypes: []string{contract.ErrUnknownDevice, contract.ErrConfig, contract.ErrNotFound},
		},
	}
}

// awaitLeaseOptions make the retry policy the queue for a device that another
// workflow holds: no history grows while it waits. Nothing is taken, so that a
// workflow that gives up need not hear of the end.
func awaitLeaseOptions(wait time.Duration, deviceID string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout:    min(15*time.Second, wait),
		ScheduleToCloseTimeout: wait,
		Summary:                "wait for the lease of " + deviceID,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    200 * time.Millisecond,
			BackoffCoefficient: 1.5,
			MaximumInterval:    10 * time.Second,
		},
	}
}

// decommissionOptions make the retry policy the queue for a device that a
// remediation holds. They need the store alone.
func decommissionOptions(deviceID string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout:    15 * time.Second,
		ScheduleToCloseTimeout: time.Hour,
		// What was begun is counted, also when the workflow is cancelled.
		WaitForCancellation: true,
		Summary:             "decommission " + deviceID,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 500 * time.Millisecond,
			MaximumInterval: 30 * time.Second,
		},
	}
}

// recordOptions are for edgefleet's own records, which have to be written
// however long the store is away.
func recordOptions(summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout:    15 * time.Second,
		ScheduleToCloseTimeout: 24 * time.Hour,
		Summary:                summary,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 200 * time.Millisecond,
			MaximumInterval: 30 * time.Second,
		},
	}
}

// escalateOptions outlast an Alertmanager that is being replaced.
func escalateOptions(deviceID string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout:    15 * time.Second,
		ScheduleToCloseTimeout: 6 * time.Hour,
		Summary:                "page a person, " + deviceID,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:        time.Second,
			MaximumInterval:        time.Minute,
			NonRetryableErrorTypes: []string{contract.ErrConfig},
		},
	}
}

// actionOptions are those of the action's declaration.
func actionOptions(a contract.Action, region, summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		TaskQueue:              contract.RegionQueue(region),
		StartToCloseTimeout:    a.StartToClose,
		ScheduleToCloseTimeout: a.ScheduleToClose,
		HeartbeatTimeout:       a.Heartbeat,
		Summary:                summary,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, MaximumInterval: 30 * time.Second, MaximumAttempts: a.MaxAttempts,
		},
	}
}
