package activities

import (
	"context"
	"errors"

	"edgefleet/devices/fleet"
	"edgefleet/internal/store"
)

// Pins are the pins of the registry. A device that was never taken into service,
// or is out of it, has none. The store may be opened later than this is made.
func Pins(s func() *store.Store) fleet.Pins { return pins{s} }

type pins struct{ store func() *store.Store }

func (p pins) Pin(ctx context.Context, deviceID string) (string, error) {
	s := p.store()
	if s == nil {
		return "", ofStore(errors.New("the store is not open yet"))
	}
	pin, err := s.Pin(ctx, deviceID)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	// What the registry does not tell must not look like a failure of the
	// device.
	return pin, ofStore(err)
}
