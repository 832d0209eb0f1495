-- +goose Up

-- Who spent a token: a random number of the handshake. Null in marks that an earlier
-- version made, which nobody can claim.
ALTER TABLE spent_tokens ADD COLUMN spender BIGINT;

CREATE TABLE nodes (
    id      TEXT NOT NULL PRIMARY KEY,
    well    BIGINT NOT NULL, -- 1: its link to the broker works, else 0
    alone   BIGINT NOT NULL, -- 1: it has no broker that others could share, else 0
    seen_us BIGINT NOT NULL  -- by the clock of the database where it has one
);

-- No room has that time. The condition keeps PostgreSQL from looking for a room by its
-- id in this index, all of a scope long, while it takes the scope for a small one.
DROP INDEX rooms_by_update;
CREATE INDEX rooms_by_update ON rooms (account, region, update_us, id) WHERE update_us <> -62135596800000001;
