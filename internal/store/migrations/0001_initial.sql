-- +goose Up

-- Times are microseconds since 1970. Columns with a "bytewise" mark are part of a
-- paging order, which has to be by bytes: that is what SQLite does; an engine whose
-- default order is by language puts its byte order in place of the mark.

CREATE TABLE logging_configurations (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    id               TEXT /*bytewise*/ NOT NULL,
    name             TEXT NOT NULL,
    destination_kind TEXT NOT NULL,
    destination_name TEXT NOT NULL,
    tags             TEXT NOT NULL, -- JSON object
    create_us        BIGINT NOT NULL,
    update_us        BIGINT NOT NULL,
    PRIMARY KEY (account, region, id)
);
CREATE INDEX logging_configurations_by_update ON logging_configurations (account, region, update_us, id);

CREATE TABLE rooms (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    id               TEXT /*bytewise*/ NOT NULL,
    name             TEXT NOT NULL,
    message_rate     BIGINT NOT NULL,
    message_length   BIGINT NOT NULL,
    handler_uri      TEXT, -- null: never had a handler; empty: it was detached
    handler_fallback TEXT, -- null exactly when handler_uri is
    logging          TEXT NOT NULL, -- JSON array of logging configuration ids, in the order given
    tags             TEXT NOT NULL, -- JSON object
    create_us        BIGINT NOT NULL,
    update_us        BIGINT NOT NULL,
    PRIMARY KEY (account, region, id)
);
CREATE INDEX rooms_by_update ON rooms (account, region, update_us, id);
CREATE INDEX rooms_by_name ON rooms (account, region, name, update_us, id) WHERE name <> '';
CREATE INDEX rooms_by_handler ON rooms (account, region, handler_uri, update_us, id) WHERE handler_uri IS NOT NULL;

-- Which rooms refer to which logging configuration. update_us is the room's, so that
-- the rooms of one logging configuration are paged through by this table's index.
CREATE TABLE room_logging (
    account                  TEXT NOT NULL,
    region                   TEXT NOT NULL,
    room_id                  TEXT /*bytewise*/ NOT NULL,
    logging_configuration_id TEXT /*bytewise*/ NOT NULL,
    update_us                BIGINT NOT NULL,
    PRIMARY KEY (account, region, room_id, logging_configuration_id),
    FOREIGN KEY (account, region, room_id) REFERENCES rooms (account, region, id) ON DELETE CASCADE,
    FOREIGN KEY (account, region, logging_configuration_id) REFERENCES logging_configurations (account, region, id)
);
CREATE INDEX room_logging_by_update ON room_logging (account, region, logging_configuration_id, update_us, room_id);

CREATE TABLE token_keys (
    id        BIGINT NOT NULL PRIMARY KEY,
    created_us BIGINT NOT NULL,
    secret    BYTEA NOT NULL
);

CREATE TABLE spent_tokens (
    id       BYTEA NOT NULL PRIMARY KEY,
    until_us BIGINT NOT NULL -- the mark may be forgotten afterwards
);
CREATE INDEX spent_tokens_by_until ON spent_tokens (until_us);
