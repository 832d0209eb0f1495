-- +goose Up

-- A user has one ban and one mute in a place: a room, or, where room_id is null, a whole
-- region of an account.
CREATE TABLE bans (
    id         TEXT /*bytewise*/ NOT NULL PRIMARY KEY,
    account    TEXT NOT NULL,
    region     TEXT NOT NULL,
    room_id    TEXT /*bytewise*/,
    user_id    TEXT NOT NULL,
    kind       TEXT NOT NULL, -- BAN or MUTE
    reason     TEXT NOT NULL,
    create_us  BIGINT NOT NULL,
    expire_us  BIGINT NOT NULL, -- the largest number: it is taken back
    created_by TEXT NOT NULL,
    FOREIGN KEY (account, region, room_id) REFERENCES rooms (account, region, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX bans_by_place ON bans (account, region, (COALESCE(room_id, '')), user_id, kind);
CREATE INDEX bans_by_create ON bans (account, region, create_us, id);
CREATE INDEX bans_by_room ON bans (account, region, room_id, create_us, id) WHERE room_id IS NOT NULL;
CREATE INDEX bans_by_user ON bans (account, region, user_id, create_us, id);
CREATE INDEX bans_by_expire ON bans (expire_us);
