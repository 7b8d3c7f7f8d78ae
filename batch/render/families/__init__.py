"""One file per model family with four functions: load, encode, denoise, decode."""
