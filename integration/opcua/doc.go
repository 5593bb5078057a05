// Package opcua proves the OPC UA driver against node-opcua, a server that
// shares no code with it: server.mjs is a small plant with the three policies
// that are still good, user names and user certificates.
//
// The server is not part of edgefleet. Its tests install it, when CI=true is
// set, into bin/opcua-peer with the versions that package-lock.json pins;
// otherwise they say how to:
//
//	mkdir -p bin/opcua-peer
//	cp integration/opcua/package*.json bin/opcua-peer
//	npm ci --ignore-scripts --prefix bin/opcua-peer
//
// EDGEFLEET_OPCUA_PEER names another folder in which it is installed.
package opcua
