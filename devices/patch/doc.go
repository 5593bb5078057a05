// Package patch is what edgefleet knows of patches: software that devices of a
// profile are to run, declared in the folder patches of a fleet directory.
//
//	# patches/edge-agent-3.3.0.yaml
//	name: edge-agent-3.3.0
//	profile: linux-gateway
//	version: 3.3.0                   # what the device says once it runs it
//	file: edge-agent-3.3.0.pkg       # and edge-agent-3.3.0.pkg.minisig beside it
//	sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//	size: 4                          # bytes
//	released: 2026-11-01             # since then it is owed
//	select: {site: substation-7}     # as in baselines
//	exceptions:
//	  - {ids: [gw-7], by: J. Doe, reason: "isolated; exchanged in January", until: 2027-01-31}
//	notes: Closes CVE-2026-0001
//
// Rules of this layer:
//   - A patch is opened only when its file has the declared size and SHA-256,
//     and a signature by one of the fleet's keys (security.patch_keys). Without
//     a key no patch is opened.
//   - Files are streamed, never held in memory, and have at most 2 GiB.
//   - Whether one version is older than another is said only where it can be:
//     what cannot be compared is no upgrade.
package patch
