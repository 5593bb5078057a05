// Package modbus proves the Modbus driver against servers that nobody here
// wrote: libmodbus (C) and pymodbus (Python), over Modbus TCP and over the
// frames of the serial line. libmodbus speaks the latter on a pseudo terminal,
// which a bridge in the test turns into TCP as a transparent device server does.
//
// The tests need libmodbus-dev with a C compiler, and python3-pymodbus with the
// system's Python. Where one is missing, they say so and what to install; with
// CI=true that is a failure.
package modbus
