"""Contact sheets: the two axes that vary most as a table, one for each setting of the others, on pages."""
