package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// job is one caller's write.
type job struct {
	ctx  context.Context
	run  func(*txn) error
	done chan error
}

// writer is the one goroutine that writes. It takes all jobs that wait, runs
// them in one transaction and commits once.
type writer struct {
	s    *Store
	jobs chan *job
	end  sync.WaitGroup

	// gate is held for reading while a job is handed over, so that close can
	// wait for the last one before it closes the channel.
	gate   sync.RWMutex
	closed bool

	// conn and stmts are used where the dialect keeps a connection; only the
	// goroutine touches them.
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func newWriter(s *Store) *writer {
	w := &writer{s: s, jobs: make(chan *job, s.opts.MaxBatch), stmts: map[string]*sql.Stmt{}}
	w.end.Add(1)
	go w.loop()
	return w
}

func (w *writer) close() {
	w.gate.Lock()
	if !w.closed {
		w.closed = true
		close(w.jobs)
	}
	w.gate.Unlock()
	w.end.Wait()
}

// write runs fn in the writer and returns what it gave once it is committed.
// When ctx ends before, the write may or may not happen; that is why every
// write is idempotent. fn may run more than once, and must not keep anything
// from an earlier run.
func write[T any](ctx context.Context, s *Store, fn func(*txn) (T, error)) (T, error) {
	// The result travels with the job, not through a variable of the caller's,
	// because a caller who gave up no longer looks.
	out := new(T)
	err := s.writer.submit(ctx, func(t *txn) error {
		v, err := fn(t)
		*out = v
		return err
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return *out, nil
}

func (w *writer) submit(ctx context.Context, run func(*txn) error) error {
	j := &job{ctx: ctx, run: run, done: make(chan error, 1)}
	if err := w.enqueue(j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("store %s: gave up waiting for the commit: %w", w.s.name, ctx.Err())
	}
}

func (w *writer) enqueue(j *job) error {
	w.gate.RLock()
	defer w.gate.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.jobs <- j:
		return nil
	case <-j.ctx.Done():
		return fmt.Errorf("store %s: gave up waiting for the writer: %w", w.s.name, j.ctx.Err())
	}
}

func (w *writer) loop() {
	defer w.end.Done()
	defer w.dropConn()
	batch := make([]*job, 0, w.s.opts.MaxBatch)
	for j := range w.jobs {
		batch = append(batch[:0], j)
		batch = w.collect(batch)
		w.flush(batch)
	}
}

// collect adds the jobs that wait already; it does not wait for more, so that
// a single caller pays for nobody.
func (w *writer) collect(batch []*job) []*job {
	for len(batch) < w.s.opts.MaxBatch {
		select {
		case j, ok := <-w.jobs:
			if !ok {
				return batch
			}
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// flush commits a batch and answers its callers.
func (w *writer) flush(batch []*job) {
	live := batch[:0]
	for _, j := range batch {
		if err := j.ctx.Err(); err != nil {
			j.done <- err
			continue
		}
		live = append(live, j)
	}
	if len(live) == 0 {
		return
	}
	answers, err := w.attempt(live)
	switch {
	case err == nil:
		for i, j := range live {
			j.done <- answers[i]
		}
	case len(live) == 1 || IsTransient(err):
		// One by one would only wait for the same database many times over.
		for _, j := range live {
			j.done <- err
		}
	default:
		for _, j := range live {
			answers, err := w.attempt([]*job{j})
			if err == nil {
				err = answers[0]
			}
			j.done <- err
		}
	}
}

// attempt runs the jobs in one transaction. Either it returns an answer for
// each and all that they wrote is committed, or it returns an error and
// nothing is.
func (w *writer) attempt(jobs []*job) (answers []error, err error) {
	ctx := context.Background()
	if d := w.s.dialect.timeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	b := &batch{w: w, ctx: ctx}
	if b.tx, err = w.begin(ctx); err != nil {
		return nil, w.s.explain(err)
	}
	defer func() {
		if err != nil {
			w.rollback(b.tx)
		}
	}()
	if w.s.dialect.lockHead {
		if err := b.loadHead(); err != nil {
			return nil, err
		}
	}
	answers = make([]error, len(jobs))
	wrote := false
	for i, j := range jobs {
		t := &txn{batch: b, now: w.s.now()}
		answers[i] = j.run(t)
		if t.failed != nil {
			return nil, w.s.explain(t.failed)
		}
		if answers[i] != nil && t.wrote {
			// A job that changed its mind half-way takes its writes back; alone,
			// that touches nobody else.
			return nil, answers[i]
		}
		wrote = wrote || t.wrote
	}
	if !wrote {
		w.rollback(b.tx)
		return answers, nil
	}
	if err := b.saveHead(); err != nil {
		return nil, w.s.explain(err)
	}
	if err := b.tx.Commit(); err != nil {
		return nil, w.s.explain(err)
	}
	return answers, nil
}

func (w *writer) begin(ctx context.Context) (*sql.Tx, error) {
	if !w.s.dialect.keepConn {
		return w.s.db.BeginTx(ctx, nil)
	}
	if w.conn == nil {
		conn, err := w.s.db.Conn(ctx)
		if err != nil {
			return nil, err
		}
		w.conn = conn
	}
	tx, err := w.conn.BeginTx(ctx, nil)
	if err != nil && !IsTransient(err) {
		w.dropConn()
	}
	return tx, err
}

// rollback leaves a connection that is fit for the next transaction.
func (w *writer) rollback(tx *sql.Tx) {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		w.dropConn()
	}
}

func (w *writer) dropConn() {
	for query, stmt := range w.stmts {
		_ = stmt.Close()
		delete(w.stmts, query)
	}
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

// batch is one transaction with the ledger's head as it will be at its end.
type batch struct {
	w   *writer
	ctx context.Context
	tx  *sql.Tx
	// head is nil until somebody needs it; headErr is why it is not usable.
	head      *ledgerHead
	headErr   error
	headDirty bool
}

// stmt returns the prepared statement for a query on the kept connection.
func (b *batch) stmt(query string) (*sql.Stmt, error) {
	if stmt := b.w.stmts[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := b.w.conn.PrepareContext(b.ctx, query)
	if err != nil {
		return nil, err
	}
	b.w.stmts[query] = stmt
	return stmt, nil
}

func (b *batch) exec(query string, args ...any) (int64, error) {
	var res sql.Result
	var err error
	if b.w.s.dialect.keepConn {
		var stmt *sql.Stmt
		if stmt, err = b.stmt(query); err == nil {
			res, err = stmt.ExecContext(b.ctx, args...)
		}
	} else {
		res, err = b.tx.ExecContext(b.ctx, query, args...)
	}
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (b *batch) query(query string, args ...any) (*sql.Rows, error) {
	if !b.w.s.dialect.keepConn {
		return b.tx.QueryContext(b.ctx, query, args...)
	}
	stmt, err := b.stmt(query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(b.ctx, args...)
}

// txn is one job's view of the batch. It notes whether the job wrote anything,
// and the first error of the database, after which nothing of the batch counts.
type txn struct {
	*batch
	// now is the time of everything that the job stores.
	now    time.Time
	wrote  bool
	failed error
}

// exec returns the number of rows that were changed.
func (t *txn) exec(query string, args ...any) (int64, error) {
	n, err := t.batch.exec(query, args...)
	if err != nil {
		t.failed = err
		return 0, err
	}
	t.wrote = t.wrote || n > 0
	return n, nil
}

// execRow is exec for a statement with RETURNING; false says that no row was
// changed.
func (t *txn) execRow(dest []any, query string, args ...any) (bool, error) {
	found, err := t.row(dest, query, args...)
	t.wrote = t.wrote || found
	return found, err
}

// row scans the first row of a query; false says that there is none.
func (t *txn) row(dest []any, query string, args ...any) (bool, error) {
	found := false
	err := t.rows(func(scan func(...any) error) error {
		if found {
			return nil
		}
		found = true
		return scan(dest...)
	}, query, args...)
	return found, err
}

// rows calls each for every row of a query.
func (t *txn) rows(each func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := t.query(query, args...)
	if err == nil {
		err = eachRow(rows, each)
	}
	if err != nil {
		t.failed = err
	}
	return err
}

// eachRow reads rows to their end and closes them.
func eachRow(rows *sql.Rows, each func(scan func(...any) error) error) error {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// now is the present time as it is stored.
func (s *Store) now() time.Time { return s.opts.Clock().UTC().Truncate(time.Microsecond) }
