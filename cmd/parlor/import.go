package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"parlor/internal/chat"
	"parlor/internal/store"
)

type importCommand struct {
	storeFlags
	amazonFlags

	In      string `name:"in" required:"" xor:"source" placeholder:"FILE" help:"A file of parlor export; - is standard input."`
	FromAWS bool   `name:"from-aws" required:"" xor:"source" help:"Read the rooms and logging configurations of an Amazon IVS Chat account, with the access key that AWS's own variables and files say."`
	Replace bool   `name:"replace" help:"Replace the rooms, logging configurations and bans that are there already. Default: they stay as they are."`
	DryRun  bool   `name:"dry-run" help:"Read and check everything, write nothing."`
}

// Validate is called by kong.
func (i *importCommand) Validate(line *kong.Context) error {
	if err := i.storeFlags.check(line); err != nil {
		return err
	}
	return i.amazonFlags.check(i.FromAWS, line)
}

// Run imports. What is wrong in the source is said, and keeps nothing else back.
func (i *importCommand) Run(line *kong.Context) error {
	ctx, stop := untilSignal()
	defer stop()
	in := &importing{replace: i.Replace, errors: line.Stderr}
	var from io.Reader = os.Stdin
	if i.In != "" && i.In != "-" {
		file, err := os.Open(i.In)
		if err != nil {
			return err
		}
		defer file.Close()
		from = file
	}
	if !i.DryRun {
		s, err := i.open(ctx, line, true)
		if err != nil {
			return err
		}
		defer s.Close()
		in.store = s
	}
	var err error
	if i.FromAWS {
		err = i.read(ctx, in, line.Stderr)
	} else {
		err = in.file(ctx, from)
	}
	// Also what came before an error is there.
	err = errors.Join(err, in.flush(ctx), in.report(line.Stdout))
	switch {
	case err != nil:
		return fmt.Errorf("import: %w; to go on, import again: what is there already is passed over", err)
	case in.refused > 0:
		return fmt.Errorf("import: %d could not be imported; all others are there. Mend what is said above and import again", in.refused)
	case i.DryRun:
		fmt.Fprintln(line.Stderr, "Nothing was written: this was a dry run.")
	}
	return nil
}

// importing is one import.
type importing struct {
	store   *store.Store // nil: nothing is written
	replace bool
	errors  io.Writer

	batch  []any
	where  []string // of the batch: what a person finds it by
	kinds  [5]outcomes
	unsaid int

	refused int
}

// outcomes count what became of the things of one kind.
type outcomes struct{ added, replaced, skipped int }

const (
	importBatch = 200 // things in a transaction
	maxSaid     = 50  // refusals that are said
)

// of returns the counts of a thing's kind.
func (in *importing) of(thing any) *outcomes {
	switch thing.(type) {
	case chat.LoggingConfiguration:
		return &in.kinds[0]
	case chat.Room:
		return &in.kinds[1]
	case chat.Ban:
		return &in.kinds[2]
	case chat.TokenKey:
		return &in.kinds[3]
	}
	return &in.kinds[4]
}

func (in *importing) report(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tNEW\tREPLACED\tPASSED OVER")
	for k, name := range []string{"logging configurations", "rooms", "bans and mutes", "token keys", "marks of used tokens"} {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\n", name, in.kinds[k].added, in.kinds[k].replaced, in.kinds[k].skipped)
	}
	if in.unsaid > 0 {
		fmt.Fprintf(in.errors, "%d more could not be imported.\n", in.unsaid)
	}
	return table.Flush()
}

func (in *importing) refuse(where string, err error) {
	if in.refused++; in.refused > maxSaid {
		in.unsaid++
		return
	}
	fmt.Fprintf(in.errors, "%s: %v\n", where, err)
}

// add takes a thing, which is written with others, or refused. An error is the store's.
func (in *importing) add(ctx context.Context, where string, thing any) error {
	if err := check(thing); err != nil {
		in.refuse(where, err)
		return nil
	}
	if t, ok := thing.(store.SpentToken); ok && t.Until.Before(time.Now()) {
		in.of(thing).skipped++ // the token is over
		return nil
	}
	if b, ok := thing.(chat.Ban); ok && !b.ExpireTime.IsZero() && b.ExpireTime.Before(time.Now()) {
		in.of(thing).skipped++ // it is over
		return nil
	}
	in.batch, in.where = append(in.batch, thing), append(in.where, where)
	if len(in.batch) < importBatch {
		return nil
	}
	return in.flush(ctx)
}

// flush writes the batch.
func (in *importing) flush(ctx context.Context) error {
	batch, where := in.batch, in.where
	in.batch, in.where = nil, nil // the store may look at them still when ctx has ended
	if in.store == nil {
		for _, thing := range batch {
			in.of(thing).added++
		}
		return nil
	}
	if len(batch) == 0 {
		return nil
	}
	all, err := in.store.Load(ctx, batch, in.replace)
	if err != nil {
		return fmt.Errorf("%s and %d after it are not written: %w", where[0], len(batch)-1, err)
	}
	for i, outcome := range all {
		counts := in.of(batch[i])
		switch outcome.Loaded {
		case store.LoadedNew:
			counts.added++
		case store.LoadedOver:
			counts.replaced++
		case store.LoadedNot:
			counts.skipped++
		case store.LoadedRefused:
			in.refuse(where[i], outcome.Err)
		}
	}
	return nil
}

// file reads an export. Lines that are wrong are refused; what makes all that follows
// doubtful is an error.
func (in *importing) file(ctx context.Context, from io.Reader) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	var counts lineCounts
	var end *endLine
	n := 0
	for lines.Scan() {
		n++
		where := fmt.Sprintf("line %d", n)
		if n == 1 {
			if err := checkHeader(lines.Bytes()); err != nil {
				return fmt.Errorf("line 1: %w", err)
			}
			continue
		}
		if end != nil {
			return fmt.Errorf("%s: it comes after the end", where)
		}
		thing, err := thingOf(lines.Bytes())
		if err != nil {
			in.refuse(where, err)
			continue
		}
		if e, ok := thing.(*endLine); ok {
			end = e
			continue
		}
		counts.count(thing)
		if err := in.add(ctx, where, thing); err != nil {
			return err
		}
	}
	err := lines.Err()
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("line %d: it is longer than %d bytes", n+1, maxLine)
	case err != nil:
		return fmt.Errorf("read line %d: %w", n+1, err)
	case n == 0:
		return errors.New("line 1: nothing is there, not even the header")
	case end == nil:
		return fmt.Errorf("line %d: the file ends without the line that ends an export: it was cut short", n+1)
	case end.Counts != nil && *end.Counts != counts && in.refused == 0:
		return fmt.Errorf("line %d: the export had %+v, the file has %+v: lines are missing", n, *end.Counts, counts)
	}
	return nil
}

func checkHeader(line []byte) error {
	var h headerLine
	if json.Unmarshal(line, &h) != nil || h.Format != exportFormat {
		return errors.New("the file is no export of Parlor")
	}
	if h.Version > exportVersion { // before a member of that version is called unknown
		return fmt.Errorf("the export has version %d, this program reads versions up to %d: use a newer Parlor", h.Version, exportVersion)
	}
	_, err := strictly(line, func(h *headerLine) (any, error) {
		if h.Version < 1 {
			return nil, wrong("version", "it must be 1 or more")
		}
		return nil, nil
	})
	return err
}

// has reports whether a room is there and stays as it is; it is counted then.
func (in *importing) has(ctx context.Context, name string) (bool, error) {
	arn, err := chat.ParseARN(name)
	if err != nil || in.store == nil || in.replace {
		return false, nil // what is wrong is said when it was read
	}
	room, err := in.store.Room(ctx, arn)
	if e, ok := errors.AsType[*chat.Error](err); ok && e.Code == chat.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	in.of(room).skipped++
	return true, nil
}
