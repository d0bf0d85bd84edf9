"""What the gateway keeps: rows in SQLite, the log over them, ciphertext and wraps in folders."""
