"""Contact sheets: the two axes that vary most as a table, a table for each setting of the others, on pages that fit."""
