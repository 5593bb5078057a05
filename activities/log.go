package activities

import (
	"context"
	"reflect"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"
	"go.uber.org/zap"

	"edgefleet/workflows/contract"
)

// logAttempt writes one line for one attempt of an activity, with the device,
// where it is about one, the workflow and the run: what somebody searches by
// who comes from an alert or from Temporal's page. Failures stand out, and so do
// changes; what was read is told at debug level, because a fleet is read all
// the time.
func (a *Activities) logAttempt(ctx context.Context, name string, in any, took time.Duration, err error) {
	info := activity.GetInfo(ctx)
	fields := []zap.Field{
		zap.String("activity", name), zap.Duration("took", took), zap.Int32("attempt", info.Attempt),
		zap.String("workflow", info.WorkflowExecution.ID), zap.String("run", info.WorkflowExecution.RunID),
	}
	if device := deviceOf(in); device != "" {
		fields = append(fields, zap.String("device", device))
	}
	if err != nil && !asked(ctx, err) {
		reason, _ := reasonOf(ctx, err)
		a.deps.Logger.Info("activity failed", append(fields, zap.String("reason", reason), zap.Error(err))...)
		return
	}
	level := zap.DebugLevel
	if changesADevice(name) {
		level = zap.InfoLevel
	}
	a.deps.Logger.Log(level, "activity ended", append(fields, zap.Bool("cancelled", err != nil))...)
}

// changesADevice says whether an activity is an action that changes a device.
func changesADevice(name string) bool {
	return slices.ContainsFunc(contract.Actions(), func(action contract.Action) bool {
		return action.Name == name && action.Kind == contract.KindChange
	})
}

// deviceOf is the device that an activity's input is about, or "". Inputs are
// plain structs of the contract, and call it by one name.
func deviceOf(in any) string {
	v := reflect.ValueOf(in)
	if v.Kind() != reflect.Struct {
		return ""
	}
	if id := v.FieldByName("DeviceID"); id.IsValid() && id.Kind() == reflect.String {
		return id.String()
	}
	return ""
}
