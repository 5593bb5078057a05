// Package ansible is for teams that come from Ansible: an inventory script over
// edgefleet's device list, and the fleet guide's role beside the fleet
// directory that replaces it. Its tests run the real Ansible.
package ansible
