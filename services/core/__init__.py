"""The ground every domain stands on: settings, database, errors, time, ids, secrets, pages, logs."""
