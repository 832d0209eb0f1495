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
