package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/pressly/goose/v3"
)

// bytewise is the migrations for an engine whose text is in the order of a language
// unless it is told otherwise.
type bytewise struct{ fs.FS }

func (b bytewise) Open(name string) (fs.File, error) {
	file, err := b.FS.Open(name)
	if err != nil || path.Ext(name) != ".sql" {
		return file, err
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte("/*bytewise*/"), []byte(`COLLATE "C"`))
	return &memoryFile{Reader: bytes.NewReader(text), like: file}, nil
}

// memoryFile is a file with other bytes in it.
type memoryFile struct {
	*bytes.Reader
	like fs.File // closed: only what it is called is still of use
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return f.like.Stat() }
func (f *memoryFile) Close() error               { return nil }

// migrate brings the schema up to the newest version this program knows. It refuses a
// newer one: what that means is not known here, and writing to it could destroy it.
func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect) error {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	if dialect == goose.DialectPostgres {
		files = bytewise{files}
	}
	provider, err := goose.NewProvider(dialect, db, files,
		goose.WithTableName("schema_versions"), goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	current, known, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("read the schema version: %w", err)
	case current > known:
		return fmt.Errorf("the database has schema version %d, this program knows versions up to %d: "+
			"run the version of Parlor that wrote it, or a newer one", current, known)
	case current == known:
		return nil
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("bring the schema from version %d to %d: %w", current, known, err)
	}
	return nil
}
