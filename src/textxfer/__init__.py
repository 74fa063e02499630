"""textxfer."""
