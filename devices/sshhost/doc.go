// Package sshhost is the driver for Linux gateways over SSH: files, lines in
// them, permissions, options of sshd and services are points that are read,
// compared and restored as registers are.
//
// It uses golang.org/x/crypto/ssh and github.com/pkg/sftp, and keeps these
// promises:
//
//   - A host is known by its key: it has to prove one of the pinned ones, of
//     whatever type, before anything is said to it. Log-in is by key only, and
//     nothing is agreed on that rests on SHA-1 or CBC.
//   - There is one connection per endpoint, user and key, shared by all callers.
//     At most four calls read on it at a time, and one writes. It is dropped on
//     any error of the line or time-out, kept alive while it is in use, and
//     closed when it is idle. A call that ended early does not end those of
//     others: they finish on the old connection while the next call has a new one.
//   - Reading takes one command for all points (and one more for those that
//     need root), whatever their number.
//   - Commands come from the profile. No value, path or name is ever read by a
//     shell: each is one word in quotes, or the content of a file. PATH and
//     locale are fixed, output is bounded (64 KiB), and so is time. An error has
//     the exit status and what the command printed.
//   - "It is not there" counts only when the system says so. What may not be
//     looked at is an error.
//
// # How a file is replaced
//
// A candidate is written beside the file, under a name that nobody can guess,
// with the owner and mode of the file, and brought to the disk. The profile's
// validation has to accept it. The file is kept (three generations, as
// .NAME.edgefleet-prev.1 to 3) and replaced at once by a rename; its SHA-256 is
// compared. The restart is run, once for all files that ask for it, and the
// health check is asked until it succeeds. When it does not, the file from
// before is put back, the restart is run again, and the write has failed.
//
// There is no moment at which the file is half: it is the old one or the new
// one. There is a time at which it is the new one and the restart has not been
// run. All through it a marker stands beside the file (.NAME.edgefleet-pending)
// with the values from before, and reading gives these: a change is in effect
// when all that belongs to it has been done. So a change whose worker, line or
// host died in between is seen as not made, is made again, and gets its
// restart. If the baseline is taken back meanwhile to what was before, nothing
// is seen as different, and the interrupted change stays on the host until the
// next write to that file.
//
// A write takes as long as its commands: WriteWithin adds their time limits up,
// so that a caller does not give up on a restart that is under way.
//
// What a killed attempt has left is removed by the next write. Reading never
// changes anything.
//
// # What happened, and what it is called
//
//	no connection, no handshake, line cut, no answer in time
//	  reading, or before the first file was replaced     Unreachable
//	  after that, or while a command was run             Indeterminate
//	worker's name server or sockets                      OwnPath
//	address outside allowed_networks, wrong host key,
//	  log-in refused, sudo wants a password              Auth
//	too many log-ins or sessions just now                Busy
//	no algorithm in common, no SFTP, no such program for
//	  the validation, a point of another protocol, a
//	  point that cannot be written                       Unsupported
//	what answers is not SSH, endless output, a content
//	  that validation refuses, no permission, disk full,
//	  a restart or health check that fails (put back),
//	  a value that does not fit                          Rejected
//	caller's or driver's end
//	  nothing was changed, or it was put back            no kind
//	  it could not be put back                           Indeterminate
//
// A log-in that is refused by the right host is a sign of life to Ping.
//
// # From Ansible
//
// The role of the fleet guide, a template with validate and notify and its
// handler, is one point of kind file: Validate, Restart and Health are its
// commands, Become is become, and template.Render is the template. Handlers run at the
// end and once, as there; the health check and putting back are new.
package sshhost
