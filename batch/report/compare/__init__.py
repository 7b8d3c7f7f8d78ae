"""Several runs in one table: time, memory, pixels, and which setting to take."""
