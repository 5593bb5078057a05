package store

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// What a device was when it was last looked at. A look that found nothing out
// leaves it unknown.
const (
	UptimeUnknown = ""
	UptimeUp      = "up"
	UptimeDown    = "down"
)

// Uptime is for how long a device is known to have been up and down since it
// was first looked at. What nobody saw is in neither.
type Uptime struct {
	DeviceID string
	Up, Down time.Duration
	// State is one of UptimeUp, UptimeDown and UptimeUnknown, at ObservedAt.
	State      string
	ObservedAt time.Time
}

// UptimeSpan is what was seen of a device from From to To.
type UptimeSpan struct {
	DeviceID string
	From, To time.Time
	// Up and Down together are at most To less From; the rest is unknown.
	Up, Down time.Duration
	// State is what the device was at To.
	State string
}

func (u *UptimeSpan) check() error {
	if !slices.Contains([]string{UptimeUnknown, UptimeUp, UptimeDown}, u.State) {
		return invalidf("state %.40q of %.80q, want up, down or nothing", u.State, u.DeviceID)
	}
	if u.Up < 0 || u.Down < 0 || u.To.Before(u.From) || u.Up+u.Down > u.To.Sub(u.From) {
		return invalidf("%s up and %s down of %.80q between %s and %s", u.Up, u.Down, u.DeviceID,
			u.From.Format(time.RFC3339Nano), u.To.Format(time.RFC3339Nano))
	}
	return checkFields(field{"device ID", &u.DeviceID, maxKeyText, true})
}

// after is the part of the span that lies behind a time. Where it cuts the
// span, up and down are taken to be spread over it evenly.
func (u UptimeSpan) after(t time.Time) UptimeSpan {
	switch whole := u.To.Sub(u.From); {
	case !t.After(u.From):
	case !t.Before(u.To):
		u.From, u.Up, u.Down = u.To, 0, 0
	default:
		part := float64(u.To.Sub(t)) / float64(whole)
		u.From = t
		u.Up = time.Duration(float64(u.Up) * part)
		u.Down = time.Duration(float64(u.Down) * part)
	}
	return u
}

const uptimeColumns = `device_id, up, down, state, observed_at`

func scanUptime(u *Uptime, scan func(...any) error) error {
	var up, down, at int64
	err := scan(&u.DeviceID, &up, &down, &u.State, &at)
	u.Up, u.Down, u.ObservedAt = time.Duration(up)*time.Microsecond, time.Duration(down)*time.Microsecond, fromMicros(at)
	return err
}

// AddUptime adds what was seen of up to MaxBulk devices to what is known of
// them, and returns that, in the order of the spans. No second is counted
// twice: the part of a span up to which the device's time is already told, by
// this worker or another one, is left out.
func (s *Store) AddUptime(ctx context.Context, spans []UptimeSpan) ([]Uptime, error) {
	spans = slices.Clone(spans)
	err := checkBulk(spans, func(u UptimeSpan) string { return u.DeviceID })
	for i := range spans {
		if err == nil {
			err = spans[i].check()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("add uptime: %w", err)
	}
	out, err := write(ctx, s, func(t *txn) ([]Uptime, error) { return t.addUptime(spans) })
	if err != nil {
		return nil, fmt.Errorf("add the uptime of %d devices: %w", len(spans), err)
	}
	return out, nil
}

func (t *txn) addUptime(spans []UptimeSpan) ([]Uptime, error) {
	ids := make([]string, len(spans))
	for i, u := range spans {
		ids[i] = u.DeviceID
	}
	known := make(map[string]Uptime, len(spans))
	err := inKeys(ids, nil, func(in string, args []any) error {
		return t.rows(func(scan func(...any) error) error {
			var u Uptime
			err := scanUptime(&u, scan)
			known[u.DeviceID] = u
			return err
		}, `SELECT `+uptimeColumns+` FROM device_uptime WHERE device_id `+in, args...)
	})
	if err != nil {
		return nil, err
	}
	out, rows := make([]Uptime, len(spans)), make([][]any, len(spans))
	for i, span := range spans {
		u, old := known[span.DeviceID]
		u.DeviceID = span.DeviceID
		if old {
			span = span.after(u.ObservedAt)
		}
		u.Up, u.Down = u.Up+span.Up.Truncate(time.Microsecond), u.Down+span.Down.Truncate(time.Microsecond)
		if !old || !span.To.Before(u.ObservedAt) {
			u.State, u.ObservedAt = span.State, fromMicros(micros(span.To))
		}
		out[i] = u
		rows[i] = []any{u.DeviceID, u.Up.Microseconds(), u.Down.Microseconds(), u.State, micros(u.ObservedAt)}
	}
	return out, t.insertRows(`INSERT INTO device_uptime (`+uptimeColumns+`)`, rows,
		` ON CONFLICT (device_id) DO UPDATE SET up = excluded.up, down = excluded.down,
			state = excluded.state, observed_at = excluded.observed_at`)
}

// Uptimes returns the uptime of devices after the given ID, in the order of
// their IDs. Limit 0 is 100; at most 1000 come at once.
func (s *Store) Uptimes(ctx context.Context, afterDevice string, limit int) ([]Uptime, error) {
	list := []Uptime{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var u Uptime
		err := scanUptime(&u, scan)
		list = append(list, u)
		return err
	}, fmt.Sprintf(`SELECT %s FROM device_uptime WHERE device_id > $1 ORDER BY device_id LIMIT %d`,
		uptimeColumns, limitOf(limit)), clean(afterDevice))
	if err != nil {
		return nil, fmt.Errorf("list uptimes: %w", err)
	}
	return list, nil
}
