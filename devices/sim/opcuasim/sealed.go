package opcuasim

import (
	"encoding/binary"
	"errors"

	"github.com/gopcua/opcua/uapolicy"
)

// A chunk with security is: headers, then sequence header, body, padding and
// signature. The signature covers everything before it; all from the sequence
// header on is encrypted, in blocks (OPC 10000-6, section 6.7.2).

// sizeBytes is how many bytes say how much padding there is: two where the
// key of the receiver makes blocks of more than 256 bytes.
func sizeBytes(block int) int {
	if block > 256 {
		return 2
	}
	return 1
}

// makeSealed makes a chunk of its headers, whose size it sets, and what
// follows.
func makeSealed(algorithm *uapolicy.EncryptionAlgorithm, headers, plain []byte, encrypted bool) ([]byte, error) {
	if algorithm == nil {
		binary.LittleEndian.PutUint32(headers[4:], uint32(len(headers)+len(plain)))
		return append(headers, plain...), nil
	}
	total := len(headers) + len(plain) + algorithm.SignatureLength()
	if encrypted {
		n := sizeBytes(algorithm.BlockSize())
		open := algorithm.PlaintextBlockSize()
		body := len(plain) + n + algorithm.SignatureLength()
		padding := 0
		if over := body % open; over != 0 {
			padding = open - over
		}
		for range padding + 1 {
			plain = append(plain, byte(padding))
		}
		if n == 2 {
			plain = append(plain, byte(padding>>8))
		}
		total = len(headers) + (body+padding)/open*algorithm.BlockSize()
	}
	binary.LittleEndian.PutUint32(headers[4:], uint32(total))
	signed := append(append([]byte(nil), headers...), plain...)
	signature, err := algorithm.Signature(signed)
	if err != nil {
		return nil, err
	}
	if !encrypted {
		return append(signed, signature...), nil
	}
	secret, err := algorithm.Encrypt(append(plain, signature...))
	if err != nil {
		return nil, err
	}
	return append(headers, secret...), nil
}

// openSealed returns what stands between the headers, which take the first so
// many bytes, and the padding, when the signature is right.
func openSealed(algorithm *uapolicy.EncryptionAlgorithm, chunk []byte, headers int, encrypted bool) ([]byte, error) {
	if headers > len(chunk) {
		return nil, errors.New("the chunk ends within its headers")
	}
	plain := chunk[headers:]
	if algorithm == nil {
		return plain, nil
	}
	if encrypted {
		var err error
		if plain, err = algorithm.Decrypt(append([]byte(nil), plain...)); err != nil {
			return nil, err
		}
	}
	at := len(plain) - algorithm.RemoteSignatureLength()
	if at < 0 {
		return nil, errors.New("the chunk is too short for a signature")
	}
	signed := append(append([]byte(nil), chunk[:headers]...), plain[:at]...)
	if err := algorithm.VerifySignature(signed, plain[at:]); err != nil {
		return nil, err
	}
	if plain = plain[:at]; !encrypted {
		return plain, nil
	}
	// Blocks are those of our own key: a signature of ours is as long as one.
	n := sizeBytes(algorithm.SignatureLength())
	if len(plain) < n {
		return nil, errors.New("the chunk is too short for its padding")
	}
	padding := int(plain[len(plain)-n])
	if n == 2 {
		padding |= int(plain[len(plain)-1]) << 8
	}
	if len(plain) < padding+n {
		return nil, errors.New("the padding is longer than the chunk")
	}
	return plain[:len(plain)-padding-n], nil
}
