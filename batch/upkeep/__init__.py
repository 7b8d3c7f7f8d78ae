"""What is done with a run folder after the night: check it, decode it again, clear it up. Prints nothing."""
