package store

import (
	"embed"
	"fmt"
	"strings"
)

// The statements, for SQLite and PostgreSQL alike: numbered placeholders, row values,
// ON CONFLICT, RETURNING, LIMIT. Nothing else in the package is SQL, but for
// histories (history.go) and the pragmas, locks and transaction words of an engine.

//go:embed migrations/*.sql
var migrationFiles embed.FS

const (
	roomColumns = `r.id, r.name, r.create_us, r.update_us, r.message_rate, r.message_length, ` +
		`r.handler_uri, r.handler_fallback, r.logging, r.tags`

	sqlSelectRoom = `SELECT ` + roomColumns + ` FROM rooms r WHERE r.account = $1 AND r.region = $2 AND r.id = $3`

	// Whether the scope has more resources than $3.
	sqlRoomAt                 = `SELECT 1 FROM rooms WHERE account = $1 AND region = $2 LIMIT 1 OFFSET $3`
	sqlLoggingConfigurationAt = `SELECT 1 FROM logging_configurations WHERE account = $1 AND region = $2 LIMIT 1 OFFSET $3`

	sqlInsertRoom = `INSERT INTO rooms (account, region, id, name, create_us, update_us, message_rate, message_length, ` +
		`handler_uri, handler_fallback, logging, tags) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

	sqlUpdateRoom = `UPDATE rooms SET name = $4, create_us = $5, update_us = $6, message_rate = $7, message_length = $8, ` +
		`handler_uri = $9, handler_fallback = $10, logging = $11, tags = $12 ` +
		`WHERE account = $1 AND region = $2 AND id = $3`

	// The links of the room go with it (ON DELETE CASCADE).
	sqlDeleteRoom = `DELETE FROM rooms WHERE account = $1 AND region = $2 AND id = $3`

	sqlInsertLink = `INSERT INTO room_logging (account, region, room_id, logging_configuration_id, update_us) ` +
		`VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`

	sqlMoveLinks = `UPDATE room_logging SET update_us = $4 WHERE account = $1 AND region = $2 AND room_id = $3`

	sqlDeleteLinks = `DELETE FROM room_logging WHERE account = $1 AND region = $2 AND room_id = $3`

	sqlLoggingConfigurationUsed = `SELECT 1 FROM room_logging ` +
		`WHERE account = $1 AND region = $2 AND logging_configuration_id = $3 LIMIT 1`

	loggingConfigurationColumns = `id, name, destination_kind, destination_name, tags, create_us, update_us`

	sqlSelectLoggingConfiguration = `SELECT ` + loggingConfigurationColumns + ` FROM logging_configurations ` +
		`WHERE account = $1 AND region = $2 AND id = $3`

	sqlLoggingConfigurationExists = `SELECT 1 FROM logging_configurations WHERE account = $1 AND region = $2 AND id = $3`

	sqlInsertLoggingConfiguration = `INSERT INTO logging_configurations ` +
		`(account, region, id, name, destination_kind, destination_name, tags, create_us, update_us) ` +
		`VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

	sqlUpdateLoggingConfiguration = `UPDATE logging_configurations SET ` +
		`name = $4, destination_kind = $5, destination_name = $6, tags = $7, create_us = $8, update_us = $9 ` +
		`WHERE account = $1 AND region = $2 AND id = $3`

	sqlDeleteLoggingConfiguration = `DELETE FROM logging_configurations WHERE account = $1 AND region = $2 AND id = $3`

	sqlListLoggingConfigurations = `SELECT ` + loggingConfigurationColumns + ` FROM logging_configurations ` +
		`WHERE account = $1 AND region = $2 AND (update_us, id) < ($3, $4) ` +
		`ORDER BY update_us DESC, id DESC LIMIT $5`

	sqlSelectTokenKeys = `SELECT id, created_us, secret FROM token_keys ORDER BY created_us, id`

	sqlInsertTokenKey = `INSERT INTO token_keys (id, created_us, secret) VALUES ($1, $2, $3)`

	sqlDeleteTokenKeys = `DELETE FROM token_keys WHERE created_us < $1`

	// Returns who spent the token: $2, unless somebody had before.
	sqlSpendToken = `INSERT INTO spent_tokens (id, spender, until_us) VALUES ($1, $2, $3) ` +
		`ON CONFLICT (id) DO UPDATE SET until_us = CASE WHEN excluded.until_us > spent_tokens.until_us ` +
		`THEN excluded.until_us ELSE spent_tokens.until_us END RETURNING spender`

	sqlTokenSpent = `SELECT 1 FROM spent_tokens WHERE id = $1`

	sqlDeleteSpentTokens = `DELETE FROM spent_tokens WHERE id IN ` +
		`(SELECT id FROM spent_tokens WHERE until_us < $1 ORDER BY until_us LIMIT $2)`

	sqlBeat = `INSERT INTO nodes (id, well, alone, seen_us) VALUES ($1, $2, $3, $4) ` +
		`ON CONFLICT (id) DO UPDATE SET well = excluded.well, alone = excluded.alone, seen_us = excluded.seen_us`

	sqlOtherNodes = `SELECT id, well, alone, seen_us FROM nodes WHERE id <> $1 AND seen_us >= $2`

	sqlDeleteNodes = `DELETE FROM nodes WHERE seen_us < $1`

	// The least scope after ($1, $2): one step into an index, however many rows a scope has.
	sqlNextRoomScope = `SELECT account, region FROM rooms WHERE (account, region) > ($1, $2) ` +
		`ORDER BY account, region LIMIT 1`
	sqlNextLoggingConfigurationScope = `SELECT account, region FROM logging_configurations WHERE (account, region) > ($1, $2) ` +
		`ORDER BY account, region LIMIT 1`

	sqlReady = `SELECT count(*) FROM token_keys`
)

// sqlClear empties the tables, those first that refer to others.
var sqlClear = []string{
	`DELETE FROM room_logging`, `DELETE FROM rooms`, `DELETE FROM logging_configurations`,
	`DELETE FROM spent_tokens`, `DELETE FROM token_keys`,
}

// Filters of a list of rooms, as a set.
const (
	byName = 1 << iota
	byHandler
	byLogging
	allFilters
)

// sqlListRooms is the list of rooms for each set of filters. Parameters: account,
// region, update time and id to start below, limit, then one for each filter of the
// set in the order of the constants.
//
// Each reads one index from the cursor on, in order: that of the name if asked for, which
// is likely to leave the fewest, else of the logging configuration, else of the handler,
// else of the scope. The other filters of a set look at the rows that come by.
var sqlListRooms = func() (texts [allFilters]string) {
	for filters := range texts {
		texts[filters] = listRooms(filters)
	}
	return texts
}()

func listRooms(filters int) string {
	from, scope, at := `rooms r`, `r.account = $1 AND r.region = $2`, `r.update_us, r.id`
	if filters&(byName|byLogging) == byLogging {
		// CROSS JOIN is what keeps SQLite from turning the two tables round.
		from = `room_logging l CROSS JOIN rooms r`
		scope = `l.account = $1 AND l.region = $2 AND r.account = l.account AND r.region = l.region AND r.id = l.room_id`
		at = `l.update_us, l.room_id`
	}
	where := []string{scope, `(` + at + `) < ($3, $4)`}
	parameter := 5
	equals := func(condition string) {
		parameter++
		where = append(where, fmt.Sprintf(condition, parameter))
	}
	if filters == 0 {
		where = append(where, `r.update_us <> -62135596800000001`) // what the partial index asks for
	}
	if filters&byName != 0 {
		equals(`r.name = $%d AND r.name <> ''`) // the second is what the partial index asks for
	}
	switch {
	case filters&byHandler == 0:
	case filters == byHandler:
		equals(`r.handler_uri = $%d`)
	default:
		equals(`COALESCE(r.handler_uri, '') = $%d`) // fits no index: another one is in use
	}
	switch {
	case filters&byLogging == 0:
	case filters&byName == 0:
		equals(`l.logging_configuration_id = $%d`)
	default:
		equals(`EXISTS (SELECT 1 FROM room_logging l WHERE l.account = r.account AND l.region = r.region ` +
			`AND l.room_id = r.id AND l.logging_configuration_id = $%d)`)
	}
	order := strings.ReplaceAll(at, ",", " DESC,") + ` DESC`
	return `SELECT ` + roomColumns + ` FROM ` + from + ` WHERE ` + strings.Join(where, ` AND `) +
		` ORDER BY ` + order + ` LIMIT $5`
}
