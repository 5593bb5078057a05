package opcua

import (
	"encoding/binary"
	"slices"

	"github.com/gopcua/opcua/uapolicy"
)

// seal puts header and plaintext together, pads, signs and encrypts them, and
// sets the size (OPC 10000-6, section 6.7.2). algorithm is nil without
// security.
func seal(algorithm *uapolicy.EncryptionAlgorithm, head, plain []byte, encrypt bool) ([]byte, error) {
	setSize := func(n int) { binary.LittleEndian.PutUint32(head[4:], uint32(len(head)+n)) }
	if algorithm == nil {
		setSize(len(plain))
		return append(head, plain...), nil
	}
	sealed := len(plain) + algorithm.SignatureLength()
	if encrypt {
		// The size of the padding takes two bytes when a block is that large.
		block, large := algorithm.PlaintextBlockSize(), algorithm.BlockSize() > 256
		stated := 1
		if large {
			stated = 2
		}
		padding := (block - (sealed+stated)%block) % block
		plain = append(plain, byte(padding))
		plain = append(plain, slices.Repeat([]byte{byte(padding)}, padding)...)
		if large {
			plain = append(plain, byte(padding>>8))
		}
		sealed = (len(plain) + algorithm.SignatureLength()) / block * algorithm.BlockSize()
	}
	setSize(sealed)
	signature, err := algorithm.Signature(slices.Concat(head, plain))
	if err != nil {
		return nil, doubt("the request cannot be signed: %v", err)
	}
	plain = append(plain, signature...)
	if encrypt {
		if plain, err = algorithm.Encrypt(plain); err != nil {
			return nil, doubt("the request cannot be encrypted: %v", err)
		}
	}
	return append(head, plain...), nil
}

// unseal decrypts what follows the first head bytes of a chunk, checks its
// signature and removes the padding.
func unseal(algorithm *uapolicy.EncryptionAlgorithm, chunk []byte, head int, encrypted bool) ([]byte, error) {
	plain := chunk[head:]
	if algorithm == nil {
		return plain, nil
	}
	if encrypted {
		var err error
		if plain, err = algorithm.Decrypt(plain); err != nil {
			return nil, doubt("the answer cannot be decrypted: %v", err)
		}
	}
	signed := len(plain) - algorithm.RemoteSignatureLength()
	if signed < 0 {
		return nil, doubt("the answer is too short to be signed")
	}
	if err := algorithm.VerifySignature(slices.Concat(chunk[:head], plain[:signed]), plain[signed:]); err != nil {
		return nil, doubt("the answer's signature is wrong: %v", err)
	}
	plain = plain[:signed]
	if !encrypted {
		return plain, nil
	}
	// Our key's size decides whether the padding's size takes two bytes. Of
	// symmetric keys the signature is short.
	stated, padding := 1, 0
	if algorithm.SignatureLength() > 256 {
		stated = 2
	}
	if len(plain) >= stated {
		padding = int(plain[len(plain)-1])
		if stated == 2 {
			padding = padding<<8 | int(plain[len(plain)-2])
		}
	}
	if len(plain) < stated+padding {
		return nil, wrong("%d bytes of padding in %d bytes", padding, len(plain))
	}
	return plain[:len(plain)-stated-padding], nil
}
