package simfleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// state is what the living process says of itself in the state file.
type state struct {
	PID     int       `json:"pid"`
	URL     string    `json:"url"`
	Token   string    `json:"token"`
	Started time.Time `json:"started"`
}

func lockFile(stateFile string) string   { return stateFile + ".lock" }
func memoryFile(stateFile string) string { return stateFile + ".memory" }
func logFile(stateFile string) string    { return stateFile + ".log" }

func readState(stateFile string) (state, error) {
	var s state
	b, err := os.ReadFile(stateFile)
	if err != nil {
		return s, err
	}
	err = json.Unmarshal(b, &s)
	return s, err
}

// memory is what the next process has to know, by device ID.
type memory struct {
	Devices map[string]deviceMemory `json:"devices"`
}

type deviceMemory struct {
	Address string `json:"address"`
	Profile string `json:"profile"`
	// Memory is what the simulator of that profile remembers.
	Memory json.RawMessage `json:"memory"`
}

func readMemory(stateFile string) (memory, error) {
	path := memoryFile(stateFile)
	var m memory
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%s: %w; remove the file to begin with a fleet fresh from the factory", path, err)
	}
	return m, nil
}

// writeJSON replaces the file as a whole: a reader finds the old or the new
// content, and nobody but the owner can read it.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// Always the same name, so that a process that is killed here leaves
	// nothing that the next one does not overwrite; the lock sees to it that
	// there is one writer.
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
