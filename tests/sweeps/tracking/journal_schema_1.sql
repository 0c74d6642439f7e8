-- A journal as written by schema 1: one complete trial, all of it sent.
PRAGMA application_id = 1701671799;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE artifacts (
  trial_key TEXT NOT NULL, path TEXT NOT NULL, stamp TEXT NOT NULL, PRIMARY KEY (trial_key, path));
CREATE TABLE conflicts (
  trial_key TEXT NOT NULL, metric TEXT NOT NULL, step INTEGER NOT NULL, kept REAL, refused REAL,
  UNIQUE (trial_key, metric, step, refused));
CREATE TABLE metrics (
  id INTEGER PRIMARY KEY AUTOINCREMENT, trial_key TEXT NOT NULL REFERENCES trials, metric TEXT NOT NULL,
  step INTEGER NOT NULL, value REAL, time_ms INTEGER NOT NULL, UNIQUE (trial_key, metric, step));
INSERT INTO "metrics" VALUES(1,'00000000000000aa','loss',0,1.0,1);
CREATE TABLE sweep (only INTEGER PRIMARY KEY CHECK (only = 1), state TEXT NOT NULL);
INSERT INTO "sweep" VALUES(1,'open');
CREATE TABLE trials (
  trial_key TEXT PRIMARY KEY, name TEXT NOT NULL, params TEXT NOT NULL, tags TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'open', reason TEXT, began_ms INTEGER, ended_ms INTEGER,
  active INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 1);
INSERT INTO "trials" VALUES('00000000000000aa','ems seed 0','{"masking.ratio": "0.15"}','{"seed": "0"}','complete',NULL,1,1795263407362,1,3);
CREATE TABLE uploaded_artifacts (
  destination TEXT NOT NULL, trial_key TEXT NOT NULL, path TEXT NOT NULL, stamp TEXT NOT NULL,
  PRIMARY KEY (destination, trial_key, path));
CREATE TABLE uploads (
  destination TEXT NOT NULL, trial_key TEXT NOT NULL, run_id TEXT NOT NULL, sent_to INTEGER NOT NULL DEFAULT 0,
  sent_version TEXT, PRIMARY KEY (destination, trial_key));
INSERT INTO "uploads" VALUES('sqlite:///mlflow.db','00000000000000aa','run',1,'3 0 ');
CREATE INDEX metrics_of_trial ON metrics (trial_key, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('metrics',1);
COMMIT;
