package service

import (
	"context"
	"errors"
	"fmt"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"

	"edgefleet/internal/store"
	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// ensureSearchAttributes creates what is missing, and says what to do where
// this worker is not allowed to.
func ensureSearchAttributes(ctx context.Context, conn *temporalx.Conn) error {
	operator := conn.Client.OperatorService()
	have, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: conn.Namespace})
	var denied *serviceerror.PermissionDenied
	var unimplemented *serviceerror.Unimplemented
	if errors.As(err, &denied) || errors.As(err, &unimplemented) {
		// Somebody else administers this namespace; a missing attribute shows
		// as an error of the first workflow that sets it.
		return nil
	}
	if err != nil {
		return conn.Explain(err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	var names []string
	for _, name := range contract.SearchAttributes() {
		switch t, ok := have.GetCustomAttributes()[name]; {
		case !ok:
			missing[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
			names = append(names, name)
		case t != enumspb.INDEXED_VALUE_TYPE_KEYWORD:
			return fmt.Errorf("namespace %s has a search attribute %s of type %s, want Keyword; use a namespace of its own for edgefleet", conn.Namespace, name, t)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: conn.Namespace, SearchAttributes: missing})
	var exists *serviceerror.AlreadyExists
	if err == nil || errors.As(err, &exists) {
		return nil
	}
	return fmt.Errorf("namespace %s has no search attributes %s, and this worker cannot create them (%w); create them as Keyword with: temporal operator search-attribute create",
		conn.Namespace, strings.Join(names, ", "), err)
}

// closed says whether a workflow run has ended. A run that Temporal no longer
// knows has: it outlived its retention. That Temporal does not answer is an
// error, never a yes.
func (w *Worker) closed(ctx context.Context, owner store.Owner) (bool, error) {
	desc, err := w.conn.Client.DescribeWorkflowExecution(ctx, owner.WorkflowID, owner.RunID)
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return true, nil
	}
	if err != nil {
		return false, w.conn.Explain(err)
	}
	return desc.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
}
