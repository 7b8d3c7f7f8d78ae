"""Task to pixels: the torch room. Nothing here knows a path of the run folder."""
