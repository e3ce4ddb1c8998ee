BEGIN TRANSACTION;
CREATE TABLE clients (
           client_id BLOB PRIMARY KEY, first_incomplete INTEGER NOT NULL, last_seen REAL NOT NULL) WITHOUT ROWID;
INSERT INTO "clients" VALUES(X'6120636C69656E74206F66206265666F7265',1,4102444800.0);
CREATE TABLE gone_files (name BLOB NOT NULL);
CREATE TABLE items (
           owner TEXT NOT NULL, item_id TEXT NOT NULL, value BLOB NOT NULL, expires_at REAL, used INTEGER, checksum INTEGER NOT NULL DEFAULT 0,
           UNIQUE (owner, item_id));
INSERT INTO "items" VALUES('','weather',X'A573756E6E79',NULL,NULL,1308725392);
INSERT INTO "items" VALUES('agent','plan',X'82A47374657001A26F6693A74772C3BCC39F65CB4004000000000000C0',NULL,NULL,470118280);
INSERT INTO "items" VALUES('agent','series',X'C130323563376563616131653534303664396663333537373266373464363035363030303030303030303033323030303031326664643539666464326338613633C70C119400A33C693892CCC8CCC8C2',NULL,NULL,1381545126);
INSERT INTO "items" VALUES('agent','array',X'C7B00C934E554D5059010076007B276465736372273A20273C6938272C2027666F727472616E5F6F72646572273A2046616C73652C20277368617065273A2028322C2033292C207D202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020200A000000000000000001000000000000000200000000000000030000000000000004000000000000000500000000000000',NULL,NULL,2868953852);
INSERT INTO "items" VALUES('agent','session',X'D60292A16101',4.9493652040544271471e+09,NULL,3156975975);
CREATE TABLE requests (
           client_id BLOB NOT NULL, number INTEGER NOT NULL, result BLOB NOT NULL, first_incomplete INTEGER NOT NULL,
           PRIMARY KEY (client_id, number)) WITHOUT ROWID;
INSERT INTO "requests" VALUES(X'6120636C69656E74206F66206265666F7265',1,X'C0',1);
INSERT INTO "requests" VALUES(X'6120636C69656E74206F66206265666F7265',2,X'90',1);
CREATE TABLE salvages (set_aside TEXT NOT NULL, salvaged INTEGER NOT NULL, lost INTEGER);
CREATE TABLE totals (
           only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
           items INTEGER NOT NULL, bytes INTEGER NOT NULL, evictions INTEGER NOT NULL, expirations INTEGER NOT NULL);
INSERT INTO "totals" VALUES(1,5,320300,0,0);
CREATE TABLE writer (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), epoch INTEGER, time_seen REAL, clock_offset REAL, boot_id TEXT, clock_checksum INTEGER);
INSERT INTO "writer" VALUES(1,1,1.79576520402736973763e+09,1.79575452213854980468e+09,'0393c47d-0bdf-4c4c-ac5f-b21dced3a925',3053899266);
CREATE INDEX items_by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX items_by_use ON items (used) WHERE used IS NOT NULL;
CREATE INDEX items_by_file ON items (substr(value, 2, 32)) WHERE (value >= x'c1' AND value < x'c2' AND length(value) > 65);
CREATE TRIGGER items_inserted AFTER INSERT ON items BEGIN
           UPDATE totals SET items = items + 1, bytes = bytes + (length(new.value) + iif((new.value >= x'c1' AND new.value < x'c2' AND length(new.value) > 65), CAST(substr(new.value, 34, 16) AS INTEGER), 0)); END;
CREATE TRIGGER items_replaced AFTER UPDATE OF value ON items
           WHEN (length(new.value) + iif((new.value >= x'c1' AND new.value < x'c2' AND length(new.value) > 65), CAST(substr(new.value, 34, 16) AS INTEGER), 0)) != (length(old.value) + iif((old.value >= x'c1' AND old.value < x'c2' AND length(old.value) > 65), CAST(substr(old.value, 34, 16) AS INTEGER), 0)) BEGIN
           UPDATE totals SET bytes = bytes + (length(new.value) + iif((new.value >= x'c1' AND new.value < x'c2' AND length(new.value) > 65), CAST(substr(new.value, 34, 16) AS INTEGER), 0)) - (length(old.value) + iif((old.value >= x'c1' AND old.value < x'c2' AND length(old.value) > 65), CAST(substr(old.value, 34, 16) AS INTEGER), 0)); END;
CREATE TRIGGER items_deleted AFTER DELETE ON items BEGIN
           UPDATE totals SET items = items - 1, bytes = bytes - (length(old.value) + iif((old.value >= x'c1' AND old.value < x'c2' AND length(old.value) > 65), CAST(substr(old.value, 34, 16) AS INTEGER), 0)); END;
CREATE TRIGGER file_replaced AFTER UPDATE OF value ON items WHEN (old.value >= x'c1' AND old.value < x'c2' AND length(old.value) > 65) BEGIN
           INSERT INTO gone_files VALUES (substr(old.value, 2, 32)); END;
CREATE TRIGGER file_deleted AFTER DELETE ON items WHEN (old.value >= x'c1' AND old.value < x'c2' AND length(old.value) > 65) BEGIN
           INSERT INTO gone_files VALUES (substr(old.value, 2, 32)); END;
COMMIT;
PRAGMA user_version = 5;
