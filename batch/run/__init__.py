"""One run from top to bottom: what is left is rendered, counted, limited, told."""
