-- +goose Up

-- What is shown to who connects to a room with a history. The order is that of (epoch,
-- number), the position in the room's log.
CREATE TABLE history (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    room_id     TEXT NOT NULL,
    epoch       BIGINT NOT NULL,
    number      BIGINT NOT NULL,
    kind        BIGINT NOT NULL, -- 0: message, 1: event, 2: deletion of id, 4: beginning of the history
    id          TEXT NOT NULL,
    user_id     TEXT NOT NULL,   -- of a message: its sender; else empty
    accepted_us BIGINT NOT NULL,
    frame       BYTEA NOT NULL,  -- as shown, without a RequestId; empty: it was deleted
    PRIMARY KEY (account, region, room_id, epoch, number)
);
CREATE INDEX history_by_user ON history (account, region, room_id, user_id, epoch, number) WHERE user_id <> '';
