package inventory

import (
	"fmt"
	"maps"
	"slices"

	"aead.dev/minisign"

	"edgefleet/devices/profile/strictyaml"
)

// patchKeyLength is how long the text of a key is.
const patchKeyLength = 56

// member is a device of a redundancy group, where it says so.
type member struct {
	f      *strictyaml.File
	line   int
	device Device
}

// redundancy checks the groups once all devices are known. A group of one is
// most often a name that was mistyped, and then nothing keeps the pair apart.
func (r *reader) redundancy() {
	for _, name := range slices.Sorted(maps.Keys(r.groups)) {
		members := r.groups[name]
		first := members[0]
		if len(members) == 1 {
			first.f.Add(first.line, fmt.Sprintf("redundancy %s has no device but %s", name, first.device.ID), "give the other one the same, or correct the name")
		}
		for _, m := range members[1:] {
			if m.device.Region != first.device.Region && r.knows(m.device.Region) && r.knows(first.device.Region) {
				m.f.Add(m.line, fmt.Sprintf("redundancy %s has %s of region %s, and %s is in %s", name, first.device.ID, first.device.Region, m.device.ID, m.device.Region),
					"make a group of devices of one region, whose worker can look at all of them")
			}
		}
	}
}

// patchKeys reads the public keys with which patches are signed.
func (r *reader) patchKeys(m strictyaml.Map) {
	n, ok := m.Get("patch_keys")
	if !ok {
		return
	}
	entries, _ := n.List()
	for _, e := range entries {
		text, ok := e.Text()
		if !ok {
			continue
		}
		var key minisign.PublicKey
		switch err := key.UnmarshalText([]byte(text)); {
		case err != nil, len(text) != patchKeyLength:
			e.Add(strictyaml.Quote(text)+" is not a minisign public key", "give the second line of minisign.pub, 56 characters that begin with RW")
		case slices.Contains(r.inv.Security.PatchKeys, text):
			e.Add("the key stands here twice", "keep one of them")
		default:
			r.inv.Security.PatchKeys = append(r.inv.Security.PatchKeys, text)
		}
	}
	if len(entries) == 0 {
		n.Add("patch_keys is empty, so no patch could be installed", "give a public key, or leave it out")
	}
}
