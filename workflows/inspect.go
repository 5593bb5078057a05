package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// inspectTimeout bounds one question: a person waits for the answer.
const inspectTimeout = 2 * time.Minute

// Inspect answers one question of the command line by one activity, so that
// the asker needs nothing but Temporal. Questions to a device go to the queue
// of the device's region, which takes one activity more to find out.
func Inspect(ctx workflow.Context, in contract.InspectInput) (contract.InspectResult, error) {
	var out contract.InspectResult
	err := inspect(ctx, in, &out)
	return out, err
}

func inspect(ctx workflow.Context, in contract.InspectInput, out *contract.InspectResult) error {
	switch in.Question {
	case contract.AskDeviceList:
		return ask(ctx, in, contract.TaskQueue, in.Device, &out.Devices)
	case contract.AskDeviceShow:
		return ask(ctx, in, contract.TaskQueue, in.Device, &out.Device)
	case contract.AskDeviceProbe, contract.AskDeviceDrift, contract.AskDeviceFingerprint:
		return askDevice(ctx, in, out)
	case contract.AskIncidentList:
		return ask(ctx, in, contract.TaskQueue, in.Incident, &out.Incidents)
	case contract.AskIncidentShow:
		return ask(ctx, in, contract.TaskQueue, in.Incident, &out.Incident)
	case contract.AskAuditList:
		return ask(ctx, in, contract.TaskQueue, in.Audit, &out.Audit)
	case contract.AskAuditVerify:
		return ask(ctx, in, contract.TaskQueue, in.Verify, &out.Verdict)
	case contract.AskRegistryList:
		return ask(ctx, in, contract.TaskQueue, in.Registry, &out.Registry)
	case contract.AskPatchReport:
		return ask(ctx, in, contract.TaskQueue, in.Patch, &out.Patches)
	case contract.AskDriftReport:
		return ask(ctx, in, contract.TaskQueue, in.Evidence, &out.Evidence)
	case contract.AskRolloutList:
		return ask(ctx, in, contract.TaskQueue, in.Rollout, &out.Rollouts)
	case contract.AskRolloutPlan:
		return ask(ctx, in, contract.TaskQueue, in.Rollout, &out.RolloutPlan)
	case contract.AskRolloutDevices:
		return ask(ctx, in, contract.TaskQueue, in.Rollout, &out.RolloutDevices)
	}
	return temporal.NewNonRetryableApplicationError(
		fmt.Sprintf("unknown question %q: the worker may be older than the command line", in.Question), contract.ErrNotFound, nil)
}

func askDevice(ctx workflow.Context, in contract.InspectInput, out *contract.InspectResult) error {
	show := in
	show.Question = contract.AskDeviceShow
	var device *contract.DeviceDetail
	if err := ask(ctx, show, contract.TaskQueue, in.Device, &device); err != nil {
		return err
	}
	queue := contract.RegionQueue(device.Region)
	switch in.Question {
	case contract.AskDeviceProbe:
		return ask(ctx, in, queue, in.Device, &out.Network)
	case contract.AskDeviceFingerprint:
		return ask(ctx, in, queue, in.Device, &out.Fingerprint)
	}
	return ask(ctx, in, queue, in.Device, &out.Drift)
}

func ask(ctx workflow.Context, in contract.InspectInput, queue string, query, answer any) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		StartToCloseTimeout:    time.Minute,
		ScheduleToCloseTimeout: inspectTimeout,
		Summary:                fmt.Sprintf("%s, asked by %.80s", in.Question, in.By),
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, MaximumAttempts: 3},
	})
	return workflow.ExecuteActivity(ctx, in.Question, query).Get(ctx, answer)
}
