//go:build !unix

package store

func (p *postgresServer) start() error { return errNoPostgres }
