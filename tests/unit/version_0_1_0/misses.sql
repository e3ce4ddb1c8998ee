BEGIN TRANSACTION;
CREATE TABLE clients (
           client_id BLOB PRIMARY KEY, first_incomplete INTEGER NOT NULL, last_seen REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE misses (
           item_id TEXT PRIMARY KEY, misses INTEGER NOT NULL, overcount INTEGER NOT NULL, checksum INTEGER NOT NULL DEFAULT 0);
INSERT INTO "misses" VALUES('nothing',3,0,678608213);
INSERT INTO "misses" VALUES('plan b',1,0,2839446297);
CREATE TABLE requests (
           client_id BLOB NOT NULL, number INTEGER NOT NULL, result BLOB NOT NULL, first_incomplete INTEGER NOT NULL,
           PRIMARY KEY (client_id, number)) WITHOUT ROWID;
CREATE TABLE salvages (set_aside TEXT NOT NULL, salvaged INTEGER NOT NULL, lost INTEGER);
CREATE TABLE totals (
           only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
           items INTEGER NOT NULL, misses INTEGER NOT NULL, evictions INTEGER NOT NULL,
           highest_dropped INTEGER NOT NULL);
INSERT INTO "totals" VALUES(1,2,4,0,0);
CREATE TABLE writer (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), epoch INTEGER, time_seen REAL, clock_offset REAL, boot_id TEXT, clock_checksum INTEGER);
INSERT INTO "writer" VALUES(1,1,1.79576057658754253392e+09,1.79575452213855433461e+09,'0393c47d-0bdf-4c4c-ac5f-b21dced3a925',3848093897);
CREATE INDEX misses_by_count ON misses (misses);
COMMIT;
PRAGMA user_version = 4;
