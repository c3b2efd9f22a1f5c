"""Commands that look at files which have labels already, and their reading of such files."""
