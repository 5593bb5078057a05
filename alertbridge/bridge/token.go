package bridge

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// maxTokenFile bounds what is read of a token file, so that a wrong path
// cannot fill the memory.
const maxTokenFile = 16 << 10

var errNoToken = errors.New("no bearer token in the request")

// tokenFile holds the bearer tokens that senders may show. It is read for
// every message: a token that is rotated or withdrawn counts from the next
// message on, and reading a small file is nothing beside a call to Temporal.
type tokenFile string

// tokens reads the file: one token in each line that is not empty. Two of them
// let a token be rotated without an hour in which one side is late.
func (f tokenFile) tokens() ([][]byte, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flagTokenFile, err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--%s: %w", flagTokenFile, err)
	case len(data) > maxTokenFile:
		return nil, fmt.Errorf("--%s %s: larger than %d bytes: want one token in a line", flagTokenFile, f, maxTokenFile)
	}
	var tokens [][]byte
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			tokens = append(tokens, line)
		}
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("--%s %s: empty: want one token in a line", flagTokenFile, f)
	}
	return tokens, nil
}

// allow says whether a request shows one of the tokens. An error other than
// nil and errNoToken means that the file could not be read: nobody is let in
// then, but the sender is not to blame either.
func (f tokenFile) allow(r *http.Request) (bool, error) {
	tokens, err := f.tokens()
	if err != nil {
		return false, err
	}
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || shown == "" {
		return false, errNoToken
	}
	// Equal lengths and no early exit: the time taken says nothing about how
	// much of a guess was right, nor about which token it was near.
	got := sha256.Sum256([]byte(strings.TrimSpace(shown)))
	match := 0
	for _, token := range tokens {
		want := sha256.Sum256(token)
		match |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return match == 1, nil
}
