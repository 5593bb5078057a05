package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The states of an alert in a message.
const (
	statusFiring   = "firing"
	statusResolved = "resolved"
)

// Message is what the bridge reads of a notification in Alertmanager's webhook
// format, version 4. Fields that it does not know are passed over, so that a
// newer Alertmanager is understood.
type Message struct {
	Receiver    string `json:"receiver"`
	GroupKey    string `json:"groupKey"`
	ExternalURL string `json:"externalURL"`
	// GroupLabels are the labels by which Alertmanager grouped the alerts.
	GroupLabels map[string]string `json:"groupLabels"`
	// TruncatedAlerts counts alerts of the group that were left out because
	// of the receiver's max_alerts.
	TruncatedAlerts uint64  `json:"truncatedAlerts"`
	Alerts          []Alert `json:"alerts"`
}

// Alert is one alert of a Message.
type Alert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`

	// malformed says why this alert could not be read; its other fields mean
	// nothing then.
	malformed error
	// size is the length of the alert as it came, in bytes.
	size int
}

// Decode reads a message. It fails on what is no message at all: no JSON, more
// than one value, no list of alerts. An alert that cannot be read does not fail
// the message: it is kept, and refused on its own later.
func Decode(data []byte) (Message, error) {
	// The outer Alerts takes precedence over the embedded one.
	var wire struct {
		Message
		Alerts *[]json.RawMessage `json:"alerts"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return Message{}, fmt.Errorf("not a message of Alertmanager: %w", describe(data, err))
	}
	if wire.Alerts == nil {
		return Message{}, errors.New(`not a message of Alertmanager: no field "alerts"; point a webhook receiver of Alertmanager here`)
	}
	m := wire.Message
	m.Alerts = make([]Alert, len(*wire.Alerts))
	for i, raw := range *wire.Alerts {
		if err := json.Unmarshal(raw, &m.Alerts[i]); err != nil {
			m.Alerts[i] = Alert{malformed: err}
		}
		m.Alerts[i].size = len(raw)
	}
	return m, nil
}

// describe adds the line to a syntax error, which knows only its offset.
func describe(data []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	before := data[:min(int(syntax.Offset), len(data))]
	return fmt.Errorf("line %d: %w", 1+bytes.Count(before, []byte("\n")), err)
}
