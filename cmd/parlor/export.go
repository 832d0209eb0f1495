package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"parlor/internal/store"
)

// storeFlags say which store a verb works on.
type storeFlags struct {
	Data        string `name:"data" env:"PARLOR_DATA" default:"./parlor-data" placeholder:"DIR" help:"The server's data directory, with the embedded store. The server must be stopped."`
	DatabaseURL string `name:"database-url" env:"PARLOR_DATABASE_URL" placeholder:"URL" help:"The shared store, postgres://…, instead of the one in the data directory."`
}

// check is for the Validate of a verb.
func (f *storeFlags) check(line *kong.Context) error {
	if onLine(line, "data") && onLine(line, "database-url") {
		return errors.New("--data and --database-url are two stores: name one")
	}
	return nil
}

// open opens the store, which with create may be a new one. As for a server, a shared
// store has precedence; but the variable does not outdo a --data of the command line.
func (f *storeFlags) open(ctx context.Context, line *kong.Context, create bool) (*store.Store, error) {
	if f.DatabaseURL != "" && !onLine(line, "data") {
		return store.OpenPostgres(ctx, f.DatabaseURL)
	}
	if !create {
		if _, err := os.Stat(filepath.Join(f.Data, "parlor.db")); err != nil {
			return nil, fmt.Errorf("--data: %s has no store: %w", f.Data, err)
		}
	}
	return store.OpenSQLite(ctx, f.Data)
}

// untilSignal ends with the first signal to stop; a second one has its usual effect.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

type exportCommand struct {
	storeFlags

	Out         string `name:"out" required:"" placeholder:"FILE" help:"The file to write, for its owner alone; - is standard output."`
	WithoutKeys bool   `name:"without-keys" help:"Leave out the keys of chat tokens, which are secret: tokens that are out will not work where this is imported."`
}

// Validate is called by kong.
func (e *exportCommand) Validate(line *kong.Context) error { return e.check(line) }

// Run writes everything that the store holds.
func (e *exportCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	s, err := e.open(ctx, line, false)
	if err != nil {
		return err
	}
	defer s.Close()
	var counts lineCounts
	if e.Out == "-" {
		counts, err = export(ctx, s, line.Stdout, !e.WithoutKeys)
	} else {
		counts, err = e.toFile(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	fmt.Fprintf(line.Stderr, "Exported %d logging configurations, %d rooms, %d bans and mutes, %d token keys, %d marks of used tokens.\n",
		counts.LoggingConfigurations, counts.Rooms, counts.Bans, counts.TokenKeys, counts.SpentTokens)
	if counts.TokenKeys > 0 {
		fmt.Fprintln(line.Stderr, "WARNING: the export has the keys that chat tokens are sealed with. Whoever reads it can enter every room as anybody, until the keys are over.\n"+
			"Keep it as secret as a password and delete it after the import. --without-keys leaves them out.")
	}
	return nil
}

// toFile writes the file whole or not at all.
func (e *exportCommand) toFile(ctx context.Context, s *store.Store) (counts lineCounts, err error) {
	file, err := os.CreateTemp(filepath.Dir(e.Out), "."+filepath.Base(e.Out)+".new-*") // mode 0600
	if err != nil {
		return counts, err
	}
	counts, err = export(ctx, s, file, !e.WithoutKeys)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), e.Out)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return counts, err
}

// export writes all lines.
func export(ctx context.Context, s *store.Store, to io.Writer, keys bool) (counts lineCounts, err error) {
	buffer := bufio.NewWriterSize(to, 64<<10)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	now := time.Now().UTC()
	if err := encoder.Encode(headerLine{exportFormat, exportVersion, now.Truncate(time.Second), keys}); err != nil {
		return counts, err
	}
	write := func(thing any) error {
		counts.count(thing)
		return encoder.Encode(lineOf(thing))
	}
	err = writeAll(s.DumpLoggingConfigurations(ctx), write)
	if err == nil {
		err = writeAll(s.DumpRooms(ctx), write)
	}
	if err == nil {
		err = writeAll(s.DumpBans(ctx, now), write)
	}
	if err == nil && keys {
		ring, keysErr := s.TokenKeys(ctx)
		err = keysErr
		for _, key := range ring {
			err = errors.Join(err, write(key))
		}
	}
	if err == nil {
		err = writeAll(s.DumpSpentTokens(ctx, now), write)
	}
	if err == nil {
		err = encoder.Encode(endLine{typeEnd, &counts})
	}
	return counts, errors.Join(err, buffer.Flush())
}

func writeAll[T any](all iter.Seq2[T, error], do func(any) error) error {
	for t, err := range all {
		if err == nil {
			err = do(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
