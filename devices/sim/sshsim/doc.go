// Package sshsim simulates a Linux gateway with the edge agent, over SSH on a
// loopback socket, as the built-in profile linux-gateway has it.
//
// The SSH server is golang.org/x/crypto/ssh, the SFTP server
// github.com/pkg/sftp, and scripts are read by the POSIX shell of
// mvdan.cc/sh/v3. All of them work on a file system in memory, with owners,
// permissions, hard links and symbolic links of its own: nothing that a client
// sends reaches a file or a program of this machine, no process is started,
// and no right of the user is needed to give a file to root. Rules:
//
//   - A log-in is by key only, by one of those that stand in the user's
//     authorized_keys. The host key is the device's for life.
//   - A user has a user's rights; what root may, sudo -n does, where the
//     file in sudoers.d says so.
//   - Programs are those of programs.go, found by PATH in the file system; what
//     is not there is "not found", with status 127.
//   - edge-validate reads the agent's configuration as the agent does, and
//     refuses what the agent would. A restart loads it; an agent that cannot
//     load its configuration has failed.
//   - sshd -T and -t read the files in the file system.
//   - A file that is replaced counts as a write of the setting that it is, a
//     line or option of it when its value changed, a mode when it is set, and
//     a unit at each order.
package sshsim
