package engine

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/membership/static"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
	"google.golang.org/protobuf/types/known/durationpb"
)

const clusterName = "active"

// ports are the ports of the server's four services, all on loopback. Only
// the frontend's is for others.
type ports struct {
	frontendHost                        string
	frontend, history, matching, worker int
}

// pollsPerSecond is how often a shard's queues may look for work. The
// default of 20 makes every workflow task wait for the next 50 ms tick,
// however idle the machine is.
const pollsPerSecond = 2000

func dynamicConfig() dynamicconfig.StaticClient {
	return dynamicconfig.StaticClient{
		dynamicconfig.TransferProcessorMaxPollRPS.Key():   pollsPerSecond,
		dynamicconfig.TimerProcessorMaxPollRPS.Key():      pollsPerSecond,
		dynamicconfig.VisibilityProcessorMaxPollRPS.Key(): pollsPerSecond,
		dynamicconfig.OutboundProcessorMaxPollRPS.Key():   pollsPerSecond,
		// One process serves a queue, so its parts would only have to look for
		// each other's tasks and polls.
		dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
		dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,
		// Ten lists a second, the default, is what one open Web UI and a
		// `rollout watch` already need.
		dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): 100,
	}
}

func sqliteConfig(database string) *config.SQL {
	return &config.SQL{
		PluginName:   sqliteplugin.PluginName,
		DatabaseName: uriPath(database),
		// More connections wait for each other's write locks, which cuts
		// throughput to a third.
		MaxConns:     1,
		MaxIdleConns: 1,
		ConnectAttributes: map[string]string{
			"mode":         "rw",
			"journal_mode": "wal",
			"synchronous":  "2",
			"busy_timeout": "10000",
		},
	}
}

func serverConfig(database string, p ports) *config.Config {
	service := func(host string, port int) config.Service {
		return config.Service{RPC: config.RPC{GRPCPort: port, BindOnIP: host}}
	}
	frontend := net.JoinHostPort(p.frontendHost, strconv.Itoa(p.frontend))
	var cfg config.Config
	cfg.Global.Membership = config.Membership{MaxJoinDuration: 10 * time.Second, BroadcastAddress: loopback}
	cfg.Persistence = config.Persistence{
		DefaultStore:     sqliteplugin.PluginName,
		VisibilityStore:  sqliteplugin.PluginName,
		NumHistoryShards: historyShards,
		DataStores:       map[string]config.DataStore{sqliteplugin.PluginName: {SQL: sqliteConfig(database)}},
	}
	cfg.ClusterMetadata = &cluster.Config{
		FailoverVersionIncrement: 10,
		MasterClusterName:        clusterName,
		CurrentClusterName:       clusterName,
		ClusterInformation: map[string]cluster.ClusterInformation{
			clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: frontend},
		},
	}
	cfg.DCRedirectionPolicy = config.DCRedirectionPolicy{Policy: "noop"}
	cfg.Services = map[string]config.Service{
		string(primitives.FrontendService): service(p.frontendHost, p.frontend),
		string(primitives.HistoryService):  service(loopback, p.history),
		string(primitives.MatchingService): service(loopback, p.matching),
		string(primitives.WorkerService):   service(loopback, p.worker),
	}
	cfg.Archival = config.Archival{
		History:    config.HistoryArchival{State: config.ArchivalDisabled},
		Visibility: config.VisibilityArchival{State: config.ArchivalDisabled},
	}
	cfg.NamespaceDefaults.Archival.History.State = config.ArchivalDisabled
	cfg.NamespaceDefaults.Archival.Visibility.State = config.ArchivalDisabled
	cfg.PublicClient = config.PublicClient{HostPort: frontend}
	return &cfg
}

// newServer builds a server whose services find each other by fixed
// addresses, so that no gossip runs and no membership port is open.
func newServer(database string, p ports, logger *serverLogger) (temporal.Server, error) {
	self := func(host string, port int) static.Hosts {
		return static.SingleLocalHost(net.JoinHostPort(host, strconv.Itoa(port)))
	}
	return temporal.NewServer(
		temporal.WithConfig(serverConfig(database, p)),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(map[primitives.ServiceName]static.Hosts{
			primitives.FrontendService: self(p.frontendHost, p.frontend),
			primitives.HistoryService:  self(loopback, p.history),
			primitives.MatchingService: self(loopback, p.matching),
			primitives.WorkerService:   self(loopback, p.worker),
		}),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper {
			return authorization.NewNoopClaimMapper()
		}),
		temporal.WithDynamicConfigClient(dynamicConfig()),
	)
}

// createNamespace writes the namespace into the database before the server
// starts, when it isn't there: made through the API, it would take seconds to
// be known to all of the server's caches.
func createNamespace(database string, o Options) error {
	attributes := make(map[string]enums.IndexedValueType, len(o.SearchAttributes))
	for _, name := range o.SearchAttributes {
		attributes[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
	}
	ns, err := sqliteschema.NewNamespaceConfig(clusterName, o.Namespace, false, attributes)
	if err != nil {
		return fmt.Errorf("create namespace %q: %w", o.Namespace, err)
	}
	ns.Detail.Config.Retention = durationpb.New(o.Retention)
	if err := sqliteschema.CreateNamespaces(sqliteConfig(database), ns); err != nil {
		return explain(database, "create the namespace in", err)
	}
	return nil
}
