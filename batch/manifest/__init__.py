"""What the user wrote: text to a checked :class:`~batch.manifest.schema.Manifest`."""
