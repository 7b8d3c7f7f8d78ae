"""Text in pictures, whatever it is written in: fonts for its letters, their order, lines that fit."""
