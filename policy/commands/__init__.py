"""The `carnet policy` commands: one file a group of verbs, put together in `app.py`."""
