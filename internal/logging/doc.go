// Package logging makes the one logger of a program and lends it to the
// libraries that bring an interface of their own.
//
// A logger is built once from [Options], handed down, and never kept in a
// package variable: two programs run in one test, each with its own. Logs go
// to stderr, because stdout belongs to data.
package logging
