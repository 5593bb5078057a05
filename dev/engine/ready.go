package engine

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// pollEvery is how often readiness is asked for.
const pollEvery = 10 * time.Millisecond

// awaitReady returns when the namespace can be used, adding the search
// attributes that it misses.
func awaitReady(ctx context.Context, addr string, o Options, fatal *fatal) error {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to the engine: %w", err)
	}
	defer func() { _ = conn.Close() }()
	workflows := workflowservice.NewWorkflowServiceClient(conn)
	operator := operatorservice.NewOperatorServiceClient(conn)

	err = poll(ctx, fatal, func() error {
		_, err := workflows.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: o.Namespace})
		return err
	})
	if err != nil {
		return fmt.Errorf("the engine doesn't answer for namespace %q: %w", o.Namespace, err)
	}
	var missing []string
	err = poll(ctx, fatal, func() error {
		missing, err = missingAttributes(ctx, operator, o)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the search attributes of namespace %q: %w", o.Namespace, err)
	}
	if len(missing) == 0 {
		return nil
	}
	return addAttributes(ctx, operator, o, missing, fatal)
}

// missingAttributes returns the search attributes that the namespace doesn't
// have, in order.
func missingAttributes(ctx context.Context, operator operatorservice.OperatorServiceClient, o Options) ([]string, error) {
	have, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: o.Namespace})
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, name := range o.SearchAttributes {
		if _, ok := have.GetCustomAttributes()[name]; !ok {
			missing = append(missing, name)
		}
	}
	sort.Strings(missing)
	return missing, nil
}

func addAttributes(ctx context.Context, operator operatorservice.OperatorServiceClient, o Options, names []string, fatal *fatal) error {
	request := &operatorservice.AddSearchAttributesRequest{
		Namespace:        o.Namespace,
		SearchAttributes: make(map[string]enums.IndexedValueType, len(names)),
	}
	for _, name := range names {
		request.SearchAttributes[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
	}
	list := strings.Join(names, ", ")
	if _, err := operator.AddSearchAttributes(ctx, request); err != nil {
		return fmt.Errorf("add search attributes %s to namespace %q: %w", list, o.Namespace, err)
	}
	err := poll(ctx, fatal, func() error {
		missing, err := missingAttributes(ctx, operator, o)
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("still missing: %s", strings.Join(missing, ", "))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("search attributes %s don't appear in namespace %q: %w", list, o.Namespace, err)
	}
	return nil
}

// poll tries until it works, the server fails or ctx ends; then it returns the
// last reason.
func poll(ctx context.Context, fatal *fatal, try func() error) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-fatal.occurred:
			return fatal.get()
		case <-ticker.C:
		}
	}
}
