"""Files that are read and written by more than one room."""
