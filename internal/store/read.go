package store

import (
	"context"
	"database/sql"
	"sync"
)

// read runs a query outside of the writer and calls each for every row.
func (s *Store) read(ctx context.Context, each func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := s.query(ctx, query, args...)
	if err == nil {
		err = eachRow(rows, each)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.explain(err)
	}
	return nil
}

// maxQuestions bounds the queries that are kept prepared. There are fewer in
// the code; what is asked with a list of any length is not kept beyond it.
const maxQuestions = 200

// questions are the prepared queries of the readers.
type questions struct {
	mu       sync.Mutex
	prepared map[string]*sql.Stmt
}

// query asks the readers. Where the driver does not keep what it has prepared,
// the store does: to parse a query takes SQLite longer than to answer it.
func (s *Store) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if !s.dialect.keepConn {
		return s.readers.QueryContext(ctx, query, args...)
	}
	s.questions.mu.Lock()
	stmt := s.questions.prepared[query]
	full := len(s.questions.prepared) >= maxQuestions
	s.questions.mu.Unlock()
	if stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	if full {
		return s.readers.QueryContext(ctx, query, args...)
	}
	stmt, err := s.readers.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.questions.mu.Lock()
	twice := s.questions.prepared[query]
	if twice == nil {
		if s.questions.prepared == nil {
			s.questions.prepared = map[string]*sql.Stmt{}
		}
		s.questions.prepared[query] = stmt
	}
	s.questions.mu.Unlock()
	if twice != nil {
		_ = stmt.Close()
		stmt = twice
	}
	return stmt.QueryContext(ctx, args...)
}
