package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/temporalio/ui-server/v2/server/api"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/csrf"
	"github.com/temporalio/ui-server/v2/server/route"
	"github.com/temporalio/ui-server/v2/ui"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
)

// webUI serves the Web UI's pages and its API. The UI server's own Start opens
// the port by itself and ends the process when it can't, so that its routes
// are put together here, on a listener and a connection of ours.
type webUI struct {
	server *http.Server
	conn   *grpc.ClientConn
	done   chan error
}

func startUI(listener net.Listener, frontend, namespace string) (*webUI, error) {
	cfg := &uiconfig.Config{
		TemporalGRPCAddress: frontend,
		EnableUI:            true,
		DefaultNamespace:    namespace,
		// Plant networks have no way out, and nothing to tell the outside.
		DisableNewsFetch:   true,
		NotifyOnNewVersion: false,
		HideLogs:           true,
		CORS:               uiconfig.CORS{CookieInsecure: true}, // loopback has no TLS
	}
	provider, err := uiconfig.NewConfigProviderWithRefresh(cfg)
	if err != nil {
		return nil, fmt.Errorf("start the Web UI: %w", err)
	}
	conn, err := api.CreateGRPCConnection(provider)
	if err != nil {
		return nil, fmt.Errorf("start the Web UI: %w", err)
	}
	handler, err := uiHandler(provider, conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the Web UI: %w", err), conn.Close())
	}
	u := &webUI{
		server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second},
		conn:   conn,
		done:   make(chan error, 1),
	}
	go func() { u.done <- u.server.Serve(listener) }()
	return u, nil
}

func uiHandler(provider *uiconfig.ConfigProviderWithRefresh, conn *grpc.ClientConn) (http.Handler, error) {
	assets, err := ui.Assets()
	if err != nil {
		return nil, err
	}
	pages, err := fs.Sub(assets, "local")
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Use(middleware.Recover(), middleware.Gzip(), middleware.Secure(),
		csrf.EnsureTokenCookie(false),
		middleware.CSRFWithConfig(csrf.MiddlewareConfig(provider, false)))
	route.SetHealthRoute(e)

	v1 := e.Group("/api/v1", route.DisableWriteMiddleware(provider))
	v1.GET("/settings", api.GetSettings(provider))
	v1.GET("/ui-extensions", api.GetUIExtensions(provider, api.TemporalAccessCheck(conn, nil)))
	v1.GET(api.WorkflowRawHistoryUrl, api.WorkflowRawHistoryHandler(workflowservice.NewWorkflowServiceClient(conn)))
	v1.Match([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		"/*", api.TemporalAPIHandler(provider, nil, conn))

	if err := route.SetUIRoutes(e, "", pages, provider); err != nil {
		return nil, err
	}
	route.SetRenderRoute(e, "/")
	return e, nil
}

// stop ends the Web UI, cutting off what is still open at the end of ctx.
func (u *webUI) stop(ctx context.Context) error {
	err := u.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop the Web UI: %w", err), u.server.Close())
	}
	return errors.Join(err, u.conn.Close())
}
