// Package credentials reads what a worker logs in to devices with: a folder
// with one sub-folder per name, and in it one file per key. The fleet file says
// a name (credentials: plant-ops); no secret ever stands there.
//
//	credentials/
//	  gateways/username              SSH: the user,
//	           ssh-privatekey        and its private key, without a passphrase
//	  plant-ops/tls.crt, tls.key     OPC UA: our application instance certificate,
//	            username, password   and a user by name,
//	            user.crt, user.key   or by certificate
//
// The names of the keys are those that Kubernetes gives to secrets of the types
// basic-auth, ssh-auth and tls, so that a mounted secret is a sub-folder as it
// is, with the symbolic links of its versions.
//
// Rules of this package:
//   - Files are read at each use: what was rotated counts without a restart.
//   - A file that others on the machine could read or change is refused, with
//     the command that mends it.
//   - No error, no rendering and no marshalling shows a secret. Errors name the
//     file, and how to make what is missing.
//   - It links no driver, so that a command can make and check credentials.
package credentials
