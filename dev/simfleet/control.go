package simfleet

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"edgefleet/devices/sim"
)

// Device is the present state of a simulated device, with the outlet and port
// (1 to 8) that it hangs on; an outlet itself hangs on none.
type Device struct {
	sim.Status
	// Class is that of the device's profile.
	Class string `json:"class"`
	Login
	Outlet string `json:"outlet,omitempty"`
	Port   int    `json:"port,omitempty"`
}

// Writes is what clients wrote to a device: a counter for each address, node,
// file's setting or unit that was ever written, in order, and the last 256
// writes one by one, oldest first. Method calls and orders to units count as
// writes of the action that they are.
type Writes struct {
	Counters []sim.Counter `json:"counters"`
	Log      []sim.Write   `json:"log"`
}

// The bodies of the control API.
type (
	hello struct {
		PID     int       `json:"pid"`
		Started time.Time `json:"started"`
		Devices int       `json:"devices"`
		Mix     string    `json:"mix,omitempty"`
		Proof   string    `json:"proof"`
	}
	faultRequest struct {
		Fault sim.Fault `json:"fault"`
		Stuck bool      `json:"stuck"`
	}
	latencyRequest struct {
		Latency time.Duration `json:"latency_ns"`
	}
	failure struct {
		Error string `json:"error"`
	}
)

// The paths of the control API; those of a device begin with devicesPath+ID.
const (
	helloPath   = "/v1/hello"
	stopPath    = "/v1/stop"
	devicesPath = "/v1/devices"
)

// proof shows knowledge of the token to somebody who chose the nonce.
func proof(token, nonce string) string {
	mac := hmac.New(sha256.New, []byte(token))
	_, _ = mac.Write([]byte("edgefleet simfleet " + nonce))
	return hex.EncodeToString(mac.Sum(nil))
}

// listen starts the control API and tells in the state file where it is.
func (f *Fleet) listen() error {
	f.token = rand.Text()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	std, err := zap.NewStdLogAt(f.o.Logger, zap.WarnLevel)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	f.listener = listener
	f.server = &http.Server{
		Handler: f.routes(), ErrorLog: std,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
	}
	err = writeJSON(f.o.StateFile, state{PID: os.Getpid(), URL: f.URL(), Token: f.token, Started: f.started})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	f.work.Go(func() {
		if err := f.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			f.o.Logger.Error("the simulated fleet's control API has ended", zap.Error(err))
		}
	})
	return nil
}

func (f *Fleet) routes() http.Handler {
	protected := http.NewServeMux()
	protected.HandleFunc("GET "+devicesPath, func(w http.ResponseWriter, _ *http.Request) {
		out := make([]Device, len(f.members))
		for i, m := range f.members {
			out[i] = m.device()
		}
		answer(w, http.StatusOK, out)
	})
	protected.HandleFunc("POST "+stopPath, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusAccepted, struct{}{})
		f.askOnce.Do(func() { close(f.asked) })
	})
	protected.HandleFunc("GET "+devicesPath+"/{id}", f.on(func(*member, *http.Request) error { return nil }))
	protected.HandleFunc("POST "+devicesPath+"/{id}/fault", f.on(func(m *member, r *http.Request) error {
		var body faultRequest
		if err := decode(r, &body); err != nil {
			return err
		}
		return m.Break(body.Fault, body.Stuck)
	}))
	protected.HandleFunc("POST "+devicesPath+"/{id}/heal", f.on(func(m *member, _ *http.Request) error {
		return m.Heal()
	}))
	protected.HandleFunc("POST "+devicesPath+"/{id}/latency", f.on(func(m *member, r *http.Request) error {
		var body latencyRequest
		if err := decode(r, &body); err != nil {
			return err
		}
		return m.SetLatency(body.Latency)
	}))
	protected.HandleFunc("GET "+devicesPath+"/{id}/writes", func(w http.ResponseWriter, r *http.Request) {
		m, err := f.lookup(r.PathValue("id"))
		if err != nil {
			answer(w, http.StatusNotFound, failure{err.Error()})
			return
		}
		answer(w, http.StatusOK, Writes{Counters: m.Writes(), Log: m.Log()})
	})

	all := http.NewServeMux()
	all.HandleFunc("GET "+helloPath, func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, hello{
			PID: os.Getpid(), Started: f.started, Devices: f.o.Devices, Mix: f.o.Mix.String(), Proof: proof(f.token, r.URL.Query().Get("nonce")),
		})
	})
	all.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(given), []byte(f.token)) != 1 {
			answer(w, http.StatusUnauthorized, failure{"the bearer token is missing or wrong"})
			return
		}
		protected.ServeHTTP(w, r)
	})
	return all
}

// on makes a handler that does something with the device of the path, writes
// it down, and answers with the device's state afterwards.
func (f *Fleet) on(do func(*member, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m, err := f.lookup(r.PathValue("id"))
		if err != nil {
			answer(w, http.StatusNotFound, failure{err.Error()})
			return
		}
		if err := do(m, r); err != nil {
			answer(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		if r.Method != http.MethodGet {
			if err := f.save(); err != nil {
				answer(w, http.StatusInternalServerError, failure{"done, but not written down: " + err.Error()})
				return
			}
		}
		answer(w, http.StatusOK, m.device())
	}
}

func (m *member) device() Device {
	return Device{Status: m.Status(), Class: m.class, Login: m.login, Outlet: m.outlet, Port: m.port}
}

func decode(r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<16))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A caller that has left needs no answer.
	_ = json.NewEncoder(w).Encode(body)
}
