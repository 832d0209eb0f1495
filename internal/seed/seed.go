package seed

import (
	"context"
	"fmt"
	"os"
	"sync"

	"parlor/internal/chat"
	"parlor/internal/config"
)

// Seed is what a file declares. The zero Seed declares nothing.
type Seed struct {
	Rooms                 []Room
	LoggingConfigurations []LoggingConfiguration
	// Webhooks are the URLs that stand for review handlers, by ARN.
	Webhooks map[string]string
}

// Room is a declared room.
type Room struct {
	ARN  chat.ARN
	Spec chat.RoomSpec
}

// LoggingConfiguration is a declared logging configuration.
type LoggingConfiguration struct {
	ARN  chat.ARN
	Spec chat.LoggingConfigurationSpec
}

// Scope is where the entries of a server's seed are that do not say it: where its banner
// points the AWS tools.
func Scope(c *config.Config) chat.Scope {
	scope := chat.Scope{Region: "us-east-1", Account: c.Account}
	if len(c.Regions) > 0 {
		scope.Region = c.Regions[0]
	}
	return scope
}

// Read reads a file. The scope is that of entries which do not say theirs. An error is
// [config.Faults].
func Read(path string, scope chat.Scope) (Seed, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Seed{}, config.Faults{{Where: "seed", Message: err.Error()}}
	}
	s, faults := parse(text, scope)
	for i, f := range faults {
		faults[i].Where = path
		if f.Where != "" {
			faults[i].Where += ":" + f.Where
		}
	}
	if len(faults) > 0 {
		return Seed{}, faults
	}
	return s, nil
}

// Made is what became of an entry.
type Made struct {
	ARN     chat.ARN
	Name    string
	Outcome chat.Declared
}

// atOnce is how many rooms are made at once: their writes share a commit.
const atOnce = 32

// Apply makes what is declared: logging configurations, then rooms. The result is in the
// order of the file.
func (s Seed) Apply(ctx context.Context, service *chat.Service) ([]Made, error) {
	made := make([]Made, 0, len(s.LoggingConfigurations)+len(s.Rooms))
	for _, lc := range s.LoggingConfigurations {
		outcome, err := service.DeclareLoggingConfiguration(ctx, lc.ARN, lc.Spec)
		if err != nil {
			return nil, fmt.Errorf("seed %s: %w", lc.ARN, err)
		}
		made = append(made, Made{lc.ARN, lc.Spec.Name, outcome})
	}
	rooms := make([]Made, len(s.Rooms))
	errs := make([]error, len(s.Rooms))
	places := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for i, room := range s.Rooms {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			outcome, err := service.DeclareRoom(ctx, room.ARN, room.Spec)
			rooms[i], errs[i] = Made{room.ARN, room.Spec.Name, outcome}, err
		})
	}
	running.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("seed %s: %w", s.Rooms[i].ARN, err)
		}
	}
	return append(made, rooms...), nil
}
