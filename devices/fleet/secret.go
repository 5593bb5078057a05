package fleet

import (
	"crypto/hmac"
	"crypto/sha256"

	"edgefleet/devices"
)

// texts renders values for journals and reports: devices.Point.Text, but for
// secrets, which a reader of a ledger could find by trying likely ones. With a
// key they are shown as devices.Point.Keyed has them.
type texts struct {
	key func() []byte
}

func (t texts) text(p devices.Point, v devices.Value) string {
	if t.key == nil {
		return p.Text(v)
	}
	return p.Keyed(t.key(), v)
}

// SecretKey is the key of the texts of secrets, made of one that the workers of
// a fleet share for another purpose; empty makes none.
func SecretKey(shared []byte) []byte {
	if len(shared) == 0 {
		return nil
	}
	h := hmac.New(sha256.New, shared)
	h.Write([]byte("edgefleet: texts of secret settings"))
	return h.Sum(nil)
}
